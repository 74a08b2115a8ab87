//! Agents that prove themselves with the secret of their credential file, and those who try to.

use std::sync::Arc;

use super::list::AgentList;
use crate::{audit::journal::Journal, budget::Peer, registry::handle::AgentHandle, secret::AgentSecret};

/// Recognizes agents by the secret of their credential file.
pub struct AgentAuthenticator {
    agent_list: Arc<AgentList>,
    journal: Arc<Journal>,
}

impl AgentAuthenticator {
    /// With what it needs of the parts before it.
    pub(in crate::broker) fn new(agent_list: &Arc<AgentList>, journal: &Arc<Journal>) -> Arc<Self> {
        Arc::new(Self {
            agent_list: agent_list.clone(),
            journal: journal.clone(),
        })
    }

    /// The agent of this name that proves itself with `secret`. What is wrong goes into the audit trail, with where it
    /// came from.
    pub fn authenticate(
        &self,
        name: &str,
        secret: &AgentSecret,
        from: Option<Peer>,
    ) -> Option<Arc<AgentHandle>> {
        let handle = name.parse().ok().and_then(|name| self.agent_list.handle(&name));
        let known = handle.filter(|handle| handle.secret().is_some_and(|own| own == secret));
        if known.is_none() {
            self.journal.note_wrong_secret(from);
        }
        known
    }
}
