//! Who calls: a user of this machine on the admin socket, or a client with a certificate.

use std::{fmt, sync::Arc};

use http::Extensions;
use tonic::{Code, Status};

use super::status::status;
use crate::{
    broker::Asker,
    config::{Access, AdminClient, Role},
    id::OwnerId,
    net::local::PeerUid,
    telemetry::audit::Actor,
};

/// Who calls. Budgets count for each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Principal {
    /// Root, or the daemon's own user: the operator.
    Local(PeerUid),
    /// A client in `[[admin.clients]]`.
    Client(Arc<AdminClient>),
}

impl Principal {
    /// Whom the connection's surface has found to call.
    ///
    /// # Errors
    /// Where none has said so.
    pub(super) fn of(extensions: &Extensions) -> Result<Self, Status> {
        let client = extensions.get::<Arc<AdminClient>>().cloned().map(Self::Client);
        let local = || extensions.get::<PeerUid>().copied().map(Self::Local);
        client.or_else(local).ok_or_else(|| {
            let message = "nobody knows who calls: that is a fault of the daemon";
            status(Code::Internal, "unauthenticated", message)
        })
    }

    /// Who the audit trail says it was.
    pub(super) fn actor(&self) -> Actor {
        match self {
            Self::Local(peer) => Actor::Admin(peer.0),
            Self::Client(client) => Actor::Client(client.name.clone()),
        }
    }

    /// Everything is theirs to see and to change.
    pub(super) fn is_operator(&self) -> bool {
        match self {
            Self::Local(_) => true,
            Self::Client(client) => client.access == Access::Role(Role::Operator),
        }
    }

    /// Whose pace it is when the provider is asked for them.
    pub(super) fn asker(&self) -> Asker {
        match self.owner() {
            Some(_) => Asker::Owner,
            None => Asker::Operator,
        }
    }

    /// The owner that they are confined to.
    pub(super) fn owner(&self) -> Option<&OwnerId> {
        match self {
            Self::Local(_) => None,
            Self::Client(client) => match &client.access {
                Access::Owner(owner) => Some(owner),
                Access::Role(_) => None,
            },
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(peer) => peer.fmt(f),
            Self::Client(client) => write!(f, "the client {}", client.shown()),
        }
    }
}
