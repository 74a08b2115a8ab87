//! How an agent stands, as its socket's `/v1/status` says it.

use serde::Deserialize;

use super::{
    agent_client::AgentSocket,
    exit::{Exit, Failure},
    output::Output,
    style::{Text, Tone},
    view::Capability,
};

/// The document of `/v1/status`, which is also `status.json`. Holds no secret.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Situation {
    agent: String,
    owner: String,
    state: String,
    message: Option<String>,
    action_url: Option<String>,
    account: Option<String>,
    service_account: Option<String>,
    #[serde(default)]
    capabilities: Vec<Capability>,
}

impl Situation {
    /// Asks the agent's socket.
    pub(super) async fn fetch(socket: &AgentSocket) -> Result<Self, Failure> {
        Self::parse(&socket.get("/v1/status").await?)
    }

    /// Reads the document.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(body).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!(
                    "the daemon's status is not what this command knows ({error}): are they of one version?"
                ),
            )
        })
    }

    /// Whose it is.
    pub(super) fn agent(&self) -> &str {
        &self.agent
    }

    /// How that agent stands, in one word.
    pub(super) fn state(&self) -> &str {
        &self.state
    }

    /// What a command ends with that shows it.
    pub(super) fn exit(&self) -> Exit {
        Exit::for_reason(&self.state).unwrap_or(Exit::Failed)
    }

    /// Why the agent has no token.
    pub(super) fn failure(&self) -> Failure {
        // Without a token even an active agent is a failure: it changed between two questions.
        let exit = if self.exit() == Exit::Ok {
            Exit::TryLater
        } else {
            self.exit()
        };
        let message = self.message.clone().filter(|message| !message.is_empty());
        let message = message.unwrap_or_else(|| format!("the agent {} has no token", self.agent));
        Failure::new(exit, message)
            .with_reason(self.state.clone())
            .with_action_url(self.action_url.clone().unwrap_or_default())
    }

    /// Shows it to people.
    pub(super) fn show(&self, output: &mut Output) -> Result<(), Failure> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        output.fields(vec![
            ("agent", self.agent.as_str().into()),
            ("owner", self.owner.as_str().into()),
            ("account", text(&self.account).into()),
            ("service account", text(&self.service_account).into()),
            ("state", Text::state(&self.state)),
            (
                "message",
                Text::toned(Tone::of_state(&self.state), text(&self.message)),
            ),
            ("fix it", text(&self.action_url).into()),
        ])?;
        Capability::table(&self.capabilities, output)
    }
}
