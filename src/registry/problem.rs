//! What an agent is told when it gets no token.

use std::time::Duration;

use crate::registry::agent_state::AgentState;

/// The stable code of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemCode {
    /// The agent's state says it.
    State(AgentState),
    /// The catalogue has no such capability.
    UnknownCapability,
    /// The agent's manifest does not declare it.
    NotDeclared,
    /// Asked too often.
    RateLimited,
    /// The request itself is wrong.
    InvalidRequest,
}

impl ProblemCode {
    /// The code as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::State(state) => state.as_str(),
            Self::UnknownCapability => "unknown_capability",
            Self::NotDeclared => "not_declared",
            Self::RateLimited => "rate_limited",
            Self::InvalidRequest => "invalid_request",
        }
    }
}

/// Why there is no token, and what can be done. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// The stable code.
    pub code: ProblemCode,
    /// A sentence a person can act on.
    pub message: String,
    /// Where a person can fix it.
    pub action_url: Option<String>,
    /// When it is worth asking again.
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// One that no page helps with, and that no time is known to mend.
    pub(crate) fn new(code: ProblemCode, message: String) -> Self {
        Self {
            code,
            message,
            action_url: None,
            retry_after: None,
        }
    }
}
