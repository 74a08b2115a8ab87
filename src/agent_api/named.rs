//! Whose tokens are asked for, where one connection is for many agents.

use http::HeaderMap;

use super::refusal::Refusal;
use crate::id::AgentName;

/// The header that names the agent.
pub(crate) const AGENT: &str = "token-broker-agent";

/// The name of the agent in the headers.
///
/// # Errors
/// When there is none.
pub(crate) fn agent_name(headers: &HeaderMap) -> Result<AgentName, Refusal> {
    let value = headers.get(AGENT).ok_or_else(|| {
        Refusal::invalid(
            "The header Token-Broker-Agent is missing: it names the agent whose tokens are asked for.",
        )
    })?;
    let name = value.to_str().ok().and_then(|name| name.parse().ok());
    name.ok_or_else(|| Refusal::invalid("The header Token-Broker-Agent holds no agent's name."))
}
