//! Keeps every agent's token fresh.
//!
//! [`Broker`] is made of use cases, each a type that holds what it needs. All of them read and change one [`registry`], decide
//! by one [`policy`], and tell agents through one publisher. Arrows between the folders go one way: `registry`, `policy`,
//! the publisher, `renewal`, then `accounts`, `agents` and `issue`. `ARCHITECTURE.md` tells the rules they follow.
//!
//! # Locks
//!
//! In the order in which they may be taken while another is held:
//!
//! 1. one agent is put or deleted over the API at a time (`agents::changes`);
//! 2. one security event is acted on at a time (`accounts::security_events`);
//! 3. one at a time deals with an account at the provider (`accounts::provider_accounts`);
//! 4. one at a time uses an account's grant: its turn (`renewal::turns`);
//! 5. one account is added or deleted at a time (`accounts::commit_grant`);
//! 6. the rows of holders (`agents::holders`);
//! 7. the registry, for moments and never across an `await` (`registry::state`);
//! 8. the tables inside queues, single flights, budgets and the audit writer, each within one of its own methods.

mod accounts;
mod agents;
mod audit;
mod composition;
pub mod events;
mod grant_ends;
pub mod handle;
mod issue;
mod options;
mod policy;
pub mod problem;
mod publisher;
mod registry;
pub(crate) mod renewal;
mod service;
mod services;
pub mod snapshot;
mod start;
pub mod state;
mod stored_time;
#[cfg(test)]
pub(crate) mod testing;
mod time;

pub use accounts::{
    asks::Asker,
    checks::AccountChecks,
    connect::Connect,
    connect_error::ConnectError,
    connect_target::ConnectTarget,
    connected::{ConnectStarted, Connected},
    disconnect::{Disconnect, Disconnected, Revocation},
    import::{Import, ImportError, Imported},
    list::{AccountError, AccountList, AccountView, CapabilityStanding},
    restored::RestoredAccounts,
    revocations::{PendingRevocation, Revocations},
    security_events::{Announced, SecurityEventHandler},
    service_accounts::{NewServiceAccount, ServiceAccountAdded, ServiceAccountError, ServiceAccounts},
    unusable::UnusableAccounts,
};
pub use agents::{
    authenticator::AgentAuthenticator,
    changes::{AgentError, Agents},
    holder_keeper::HolderKeeper,
    list::{AgentList, AgentView},
};
pub use audit::{
    journal::Journal,
    sessions::{Invitation, SignIn},
};
pub use events::{Event, EventKind};
pub use handle::{AgentHandle, ChangeReceiver, ChangeSender};
pub use issue::{
    issuer::Issuer,
    request::{TokenGrant, TokenRequest},
};
pub use options::{BrokerOptions, BrokerParts};
#[cfg(test)]
pub(crate) use policy::context::state_of as failure_state;
pub use policy::{
    former_names,
    select_account::{AccountRef, SeveralAccounts},
};
pub use problem::{Problem, ProblemCode};
pub use registry::{names, state::AgentSource};
pub(crate) use renewal::backoff;
pub use service::{Broker, Pulses};
pub use snapshot::{AgentSnapshot, CapabilityStatus, CredentialView, IssuedToken};
pub use state::{AgentState, CapabilityState};
