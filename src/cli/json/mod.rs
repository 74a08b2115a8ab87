//! What the daemon answered, as JSON shows it. Times are RFC 3339 in UTC, states their stable codes; what is
//! unknown or does not apply is left out.

mod account;
mod agent;
mod audit;
mod daemon;
mod keyring;

pub(super) use account::{Integration, IntegrationCapability, PendingRevocation};
pub(super) use agent::Agent;
pub(super) use audit::{AuditEvent, AuditHead};
pub(super) use daemon::Daemon;
pub(super) use keyring::{Keyring, KeyringKey};
