//! What an agent is told when it gets no token.

use std::time::Duration;

use crate::{
    id::{CapabilityKey, ProviderId},
    registry::{agent_state::AgentState, renewal_fault::RenewalFault},
};

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

/// What a problem comes from. With the code it says whether two are the same, in whatever words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProblemCause {
    /// The request: what of it is wrong, the caller made up.
    Request,
    /// The agent's state.
    State,
    /// This capability was not granted.
    NotGranted {
        /// Which.
        capability: CapabilityKey,
        /// It was asked for.
        declined: bool,
    },
    /// The agent's manifest does not declare this capability.
    UndeclaredCapability(CapabilityKey),
    /// The agent's manifest declares nothing of this provider.
    UndeclaredProvider(ProviderId),
    /// A renewal failed.
    Renewal(Box<RenewalFault>),
    /// A renewal takes too long.
    RenewalTooSlow,
    /// The account or the agent changed while somebody waited.
    ChangedMeanwhile,
}

/// Why there is no token, and what can be done. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// The stable code.
    pub code: ProblemCode,
    /// What it comes from.
    pub(crate) cause: ProblemCause,
    /// A sentence a person can act on.
    pub message: String,
    /// Where a person can fix it.
    pub action_url: Option<String>,
    /// When it is worth asking again.
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// One that no page helps with, and that no time is known to mend.
    pub(crate) fn new(code: ProblemCode, cause: ProblemCause, message: String) -> Self {
        Self {
            code,
            cause,
            message,
            action_url: None,
            retry_after: None,
        }
    }
}
