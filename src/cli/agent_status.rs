//! How an agent's own status is shown to people.

use super::{
    output::Output,
    style::{Text, Tone},
    tables,
};
use crate::client::{agent_status::AgentStatus, exit::Failure};

/// Shows it.
pub(super) fn show(status: &AgentStatus, output: &mut Output) -> Result<(), Failure> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    output.fields(vec![
        ("agent", status.agent.as_str().into()),
        ("owner", status.owner.as_str().into()),
        ("account", text(&status.account).into()),
        ("service account", text(&status.service_account).into()),
        ("other accounts", tables::accounts(&status.accounts).into()),
        ("state", Text::state(&status.state)),
        (
            "message",
            Text::toned(Tone::of_state(&status.state), text(&status.message)),
        ),
        ("fix it", text(&status.action_url).into()),
    ])?;
    tables::capabilities(&status.capabilities, output)
}
