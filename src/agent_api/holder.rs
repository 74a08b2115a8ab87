//! Who holds something open, and what is held.

use std::sync::Arc;

use crate::{
    broker::AgentHandle, budget::Share, id::AgentName, kubernetes::Proven,
    net::certificate_names::CertificateNames,
};

/// Who holds something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// An agent, on whatever surface of this machine.
    Agent(AgentName),
    /// A pod at `remote.listen`: an agent may have many.
    Pod(Arc<Proven>),
    /// An agent on a node, which sends its requests on.
    Node(Arc<CertificateNames>, AgentName),
}

impl Holder {
    pub(crate) fn of(agent: &AgentHandle) -> Self {
        Self::Agent(agent.name().clone())
    }
}

/// What is held; given back when dropped.
pub(crate) type Held = Share<Holder>;
