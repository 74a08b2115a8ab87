//! The records that the store keeps, as the broker sees them. Secrets in them are sealed.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    capability::ScopeSet,
    cause::GrantCause,
    clock::BootMoment,
    id::{AgentName, CapabilityKey, IntegrationId, OwnerId, ProviderId},
    store::error::StoreError,
    vault::Sealed,
};

/// Whether a grant works, as far as it was last known. Passing trouble is not recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It worked when it was last used.
    Active,
    /// The provider refused it; the owner has to connect again.
    ReconnectRequired(Box<GrantCause>),
    /// Access was withdrawn on purpose.
    Revoked(Box<GrantCause>),
    /// The provider disabled the account and may enable it again: the grant is kept for that.
    Disabled(Box<GrantCause>),
    /// The operator has to act.
    Misconfigured(Box<GrantCause>),
}

/// A renewal that was begun and not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalIntent {
    /// When it was begun.
    pub started_at: Timestamp,
    /// How many times in a row it was begun without an end: 1 for the first.
    pub attempts: u32,
}

/// A connected account. Its secret is sealed, so the record itself may be copied and logged about.
#[derive(Clone)]
pub struct IntegrationRecord {
    /// Its id.
    pub id: IntegrationId,
    /// Whose account it is.
    pub provider: ProviderId,
    /// Whose it is.
    pub owner: OwnerId,
    /// The provider's own id of the account: the id token's `sub`. A service account's is the address that its tokens
    /// speak for: its own, or a person's (domain-wide delegation).
    pub subject: String,
    /// The account's address, for people.
    pub account: String,
    /// The addresses that it had before, the latest last. They still name it.
    pub former: Arc<[String]>,
    /// The OAuth client and token endpoint that the grant belongs to; it is never sent elsewhere.
    pub issuer_binding: Arc<str>,
    /// What the person really granted, or the service account may ask for.
    pub scopes: ScopeSet,
    /// What a consent asked for and the person did not give, as far as it is still missing. Sorted.
    pub declined: Arc<[CapabilityKey]>,
    /// Whether it works.
    pub health: Health,
    /// Grows with each change of the grant.
    pub version: u64,
    /// When it was connected last.
    pub connected_at: Timestamp,
    /// When a token was last obtained with it.
    pub renewed_at: Option<Timestamp>,
    /// When the grant itself ends, where the provider said so.
    pub grant_expires_at: Option<Timestamp>,
    /// A renewal that was begun and not finished.
    pub renewal: Option<RenewalIntent>,
    /// The refresh token, or the service account's key.
    pub secret: Sealed,
    /// The key that the refresh token is bound to, where it is.
    pub proof_key: Option<Sealed>,
}

/// What of an account a renewal reads and changes. The rest stays as it is for as long as the grant is not replaced.
#[derive(Clone)]
pub struct Grant {
    /// Grows with each change of the grant.
    pub version: u64,
    /// Whether it works.
    pub health: Health,
    /// A renewal that was begun earlier and not finished.
    pub renewal: Option<RenewalIntent>,
    /// The refresh token.
    pub secret: Sealed,
    /// The key that it is bound to, where it is. What takes its place is bound to the same.
    pub proof_key: Option<Sealed>,
}

/// An access token that is still alive, kept so that a restart needs no request.
#[derive(Clone)]
pub struct TokenRecord {
    /// The account it was obtained with.
    pub integration: IntegrationId,
    /// What was asked for; with the account, the key.
    pub requested: ScopeSet,
    /// What it carries.
    pub granted: ScopeSet,
    /// When it was obtained.
    pub issued_at: Timestamp,
    /// The same by the uptime, which nobody sets; `None` in rows of versions that did not remember it, and where the
    /// system does not tell its boots apart.
    pub issued_in_boot: Option<BootMoment>,
    /// When it stops working.
    pub expires_at: Timestamp,
    /// The token.
    pub secret: Sealed,
}

/// A grant that was given up here and is still to be revoked at the provider. Its secret is sealed as the
/// account's was.
#[derive(Clone)]
pub struct RevocationRecord {
    /// The id that the account had.
    pub id: IntegrationId,
    /// Whose it was.
    pub owner: OwnerId,
    /// The provider's own id of the account.
    pub subject: String,
    /// The account's address, for people.
    pub account: String,
    /// The OAuth client and token endpoint that the grant belongs to.
    pub issuer_binding: Arc<str>,
    /// When it was given up.
    pub since: Timestamp,
    /// The refresh token.
    pub secret: Sealed,
}

/// The outcome of a renewal, committed in one transaction.
pub struct RenewalOutcome {
    /// The refresh token that replaces the one before; `None` keeps it.
    pub rotated: Option<Sealed>,
    /// Whether the grant works.
    pub health: Health,
    /// When the grant itself ends, where an answer told something new; `None` keeps what is known.
    pub grant_expires_at: Option<Timestamp>,
    /// When a token was obtained; `None` when none was.
    pub renewed_at: Option<Timestamp>,
    /// The new access token.
    pub token: Option<TokenRecord>,
}

/// An agent that came over the API: its manifest as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRecord {
    /// Its name.
    pub name: AgentName,
    /// What it declared.
    pub manifest: String,
}

/// Who holds an agent, also one that came from a file, and what it proves itself with.
#[derive(Clone)]
pub struct HolderRecord {
    /// The agent.
    pub agent: AgentName,
    /// Its holder as JSON; `None` in rows of versions that did not remember it.
    pub holder: Option<String>,
    /// What the agent proves itself with where identity does not come from its mount.
    pub secret: Option<Sealed>,
}

/// Everything in the store that the broker needs at start.
#[derive(Default)]
pub struct Contents {
    /// The connected accounts.
    pub integrations: Vec<IntegrationRecord>,
    /// Access tokens, also expired ones.
    pub tokens: Vec<TokenRecord>,
    /// Agents that came over the API.
    pub agents: Vec<AgentRecord>,
    /// Grants that are still to be revoked.
    pub revocations: Vec<RevocationRecord>,
    /// Who holds which agent.
    pub holders: Vec<HolderRecord>,
    /// Accounts of a database that was put back: none is used before the provider has given a token for its grant.
    pub unchecked: Vec<IntegrationId>,
    /// Rows that are left alone.
    pub unusable: Vec<UnusableRecord>,
}

/// A row that is left alone: it cannot be read, or somebody else wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableRecord {
    /// The id or name that it says it is of.
    pub name: String,
    /// What is wrong and what to do.
    pub problem: StoreError,
    /// Somebody has to act; otherwise it is replaced in the course of things.
    pub lasts: bool,
}

/// What keeps the records, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseFacts {
    /// The database's name and version.
    pub engine: String,
    /// How large it is, in bytes, without what is still to be written into it.
    pub bytes: u64,
}
