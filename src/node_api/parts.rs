//! What all nodes' streams share, and how one of them is refused.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    agent_api::{audit_dedup::AuditDedup, endpoint::Server},
    budget::{
        Budget,
        table::{NODE_SNAPSHOTS, NODE_STREAMS},
    },
    net::certificate_names::CertificateNames,
};

/// What all nodes' streams share.
pub(super) struct Parts {
    pub(super) server: Arc<Server>,
    pub(super) dedup: AuditDedup,
    /// Nodes that are told everything at the same time.
    pub(super) snapshots: Semaphore,
    pub(super) shutdown: CancellationToken,
    pub(super) streams: Budget<Arc<CertificateNames>>,
}

impl Parts {
    /// Nobody is told anything yet.
    pub(super) fn new(server: Arc<Server>, shutdown: CancellationToken) -> Self {
        Self {
            server,
            dedup: AuditDedup::default(),
            snapshots: Semaphore::new(NODE_SNAPSHOTS),
            shutdown,
            streams: Budget::new(NODE_STREAMS),
        }
    }
}

/// A status with its reason.
pub(super) fn status(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, "token-broker", HashMap::new());
    Status::with_error_details(code, message, details)
}

/// The daemon is going down.
pub(super) fn stopping() -> Status {
    status(
        Code::Unavailable,
        "stopping",
        "the broker is stopping; connect again in a moment",
    )
}
