//! What happens, for whoever watches: the orchestrator, the demo, the console. Holds no secret.

use jiff::Timestamp;
use tokio::sync::broadcast;

use crate::{
    id::{AgentName, CapabilityKey, IntegrationId, OwnerId},
    registry::agent_state::AgentState,
};

/// Events that a slow watcher may lag behind.
const MOST_BEHIND: usize = 1024;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// An account was connected, or got more permissions.
    IntegrationConnected,
    /// An account was disconnected.
    IntegrationDisconnected,
    /// An account's state changed.
    IntegrationState,
    /// An account's grant ends soon.
    IntegrationEnding,
    /// A token was obtained.
    TokenRenewed,
    /// A token could not be obtained.
    RenewalFailed,
    /// An agent's state changed.
    AgentState,
    /// An agent's files were written.
    AgentDelivered,
    /// An agent was added or changed.
    AgentPut,
    /// An agent was removed.
    AgentRemoved,
}

impl Event {
    /// Whether it is this viewer's business; everything is that of whoever is no owner.
    pub fn concerns(&self, viewer: Option<&OwnerId>) -> bool {
        viewer.is_none_or(|viewer| self.owner.as_ref() == Some(viewer))
    }
}

impl EventKind {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IntegrationConnected => "integration.connected",
            Self::IntegrationDisconnected => "integration.disconnected",
            Self::IntegrationState => "integration.state",
            Self::IntegrationEnding => "integration.ending",
            Self::TokenRenewed => "token.renewed",
            Self::RenewalFailed => "token.renewal_failed",
            Self::AgentState => "agent.state",
            Self::AgentDelivered => "agent.delivered",
            Self::AgentPut => "agent.put",
            Self::AgentRemoved => "agent.removed",
        }
    }
}

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// What.
    pub kind: EventKind,
    /// Whose account or agent it was about at that moment; `None` where that was not known any more.
    pub owner: Option<OwnerId>,
    /// The agent concerned.
    pub agent: Option<AgentName>,
    /// The account concerned.
    pub integration: Option<IntegrationId>,
    /// The agent's state after it.
    pub state: Option<AgentState>,
    /// A sentence.
    pub message: String,
    /// The capabilities concerned.
    pub capabilities: Vec<CapabilityKey>,
    /// When the token stops working.
    pub expires_at: Option<Timestamp>,
}

/// Where events go, and where those who watch hear of them.
#[derive(Clone)]
pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(MOST_BEHIND))
    }
}

impl Events {
    /// Every event from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }

    pub(crate) fn emit(&self, event: Event) {
        // Nobody watching is fine.
        let _ = self.0.send(event);
    }
}
