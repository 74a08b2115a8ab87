//! A node, and which agents are its own.

use std::{fmt, sync::Arc};

use crate::{budget::Peer, id::AgentName, manifest::Manifest, net::certificate_names::CertificateNames};

/// Who shows a certificate at `remote.listen`.
pub(super) struct Node {
    /// The names of its certificate.
    pub(super) names: Arc<CertificateNames>,
    /// Where its connection came from.
    pub(super) from: Peer,
}

impl Node {
    /// True where the manifest names it.
    pub(super) fn serves(&self, manifest: &Manifest) -> bool {
        manifest.nodes.iter().any(|name| self.names.has(name.as_str()))
    }

    /// Why an agent is not its own, and what to do where it should be.
    pub(super) fn not_its_own(&self, agent: &AgentName) -> String {
        format!(
            "The agent {agent} is not given to {self}: name the node in `nodes` of the agent's manifest, by a name of its \
             certificate."
        )
    }
}

/// As sentences have it.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a node whose certificate has {}", self.names)
    }
}
