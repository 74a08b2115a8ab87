//! Keeps every agent's token fresh.

pub mod events;
pub mod handle;
pub mod problem;
pub mod query;
pub mod snapshot;

use jiff::Timestamp;

use crate::clock::SharedClock;

pub use events::{Event, EventKind};
pub use handle::{AgentHandle, ChangeReceiver, ChangeSender};
pub use problem::{Problem, ProblemCode};
pub use query::{TokenGrant, TokenQuery};
pub use snapshot::{AgentSnapshot, AgentState, CapabilityStatus, IssuedToken};

/// The broker.
pub struct Broker {
    clock: SharedClock,
}

impl Broker {
    #[doc(hidden)]
    pub fn stand_in(clock: SharedClock) -> Self {
        Self { clock }
    }

    /// The present moment, corrected by the provider's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The token that the agent has, when it is fresh enough to hand out as it is: no wait, no lock, no disk.
    pub fn current(&self, agent: &AgentHandle) -> Option<TokenGrant> {
        let snapshot = agent.peek();
        let token = snapshot
            .token
            .as_ref()
            .filter(|token| token.is_fresh(self.now()))?;
        Some(TokenGrant {
            token: token.clone(),
            capabilities: snapshot.granted.clone(),
        })
    }

    /// A token that answers `query`, renewed first if need be.
    pub async fn token(&self, agent: &AgentHandle, query: &TokenQuery) -> Result<TokenGrant, Problem> {
        if query.is_plain()
            && let Some(grant) = self.current(agent)
        {
            return Ok(grant);
        }
        std::future::ready(()).await;
        Err(agent.snapshot().problem())
    }
}
