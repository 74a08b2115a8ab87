//! Keeps every agent's token fresh.
//!
//! [`Broker`] is made of use cases, each a type that holds what it needs. All of them read and change one `registry`, decide
//! by one `policy`, and tell agents through one publisher. Arrows between the folders go one way: `registry`, `policy`,
//! `audit`, `renewal`, `revocation`, `accounts`, then `agents` and `issue` here. Other folders take from here what they need of them.
//! `ARCHITECTURE.md` tells the rules they follow.
//!
//! # Locks
//!
//! In the order in which they may be taken while another is held:
//!
//! 1. one agent is put or deleted over the API at a time (`agents::changes`);
//! 2. one security event is acted on at a time (`accounts::security_events`, `accounts::health`);
//! 3. one at a time deals with an account at the provider (`revocation::provider_accounts`);
//! 4. one at a time uses an account's grant: its turn (`renewal::turns`), which may be tried, and never waited for, while
//!    the registry is held; then a place at the provider (`renewal::request_places`);
//! 5. one account is added or deleted at a time (`accounts::commit_grant`);
//! 6. the rows of holders (`agents::holders`);
//! 7. the registry, for moments and never across an `await` (`registry::state`);
//! 8. the tables inside queues, single flights, budgets and the audit writer, each within one of its own methods.

mod agents;
mod composition;
mod issue;
mod service;
mod start;
mod stored_time;
#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
pub(crate) use crate::policy::context::state_of as failure_state;
pub(crate) use crate::renewal::backoff;
pub use crate::{
    accounts::{
        asks::Asker,
        checks::AccountChecks,
        connect::Connect,
        connect_error::ConnectError,
        connect_target::ConnectTarget,
        connected::{ConnectStarted, Connected},
        disconnect::{Disconnect, Disconnected, Revocation},
        disconnect_problem::DisconnectProblem,
        import::{Import, ImportError, Imported},
        list::{AccountError, AccountList, AccountView, CapabilityStanding},
        not_kept::NotKept,
        restored::RestoredAccounts,
        security_events::{Announced, SecurityEventHandler},
        service_accounts::{NewServiceAccount, ServiceAccountAdded, ServiceAccountError, ServiceAccounts},
        unusable::UnusableAccounts,
    },
    audit::{
        journal::Journal,
        sessions::{Invitation, SignIn},
    },
    policy::{
        former_names,
        grant_binding::GrantBinding,
        select_account::{AccountRef, SeveralAccounts, UnknownAccount},
    },
    registry::{
        agent_state::{self as state, AgentState, CapabilityState},
        events::{self, Event, EventKind},
        handle::{self, AgentHandle, ChangeReceiver, ChangeSender},
        names,
        problem::{self, Problem, ProblemCode},
        snapshot::{self, AgentSnapshot, AwaitedConsent, CapabilityStatus, CredentialView, IssuedToken},
        state::AgentSource,
    },
    renewal::options::{BrokerOptions, BrokerParts},
    revocation::revocations::{PendingRevocation, Revocations},
};
pub use agents::{
    authenticator::AgentAuthenticator,
    changes::{AgentError, Agents},
    holder_keeper::HolderKeeper,
    list::{AgentList, AgentView},
    quota::{OwnersCaller, TooManyAgents},
};
pub use issue::{
    issuer::Issuer,
    request::{TokenGrant, TokenRequest},
};
pub use service::{Broker, Pulses};
