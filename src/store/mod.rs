//! The trait `Store`: the durable records of accounts, agents, tokens and the audit trail.
//!
//! The broker sees records and the [`Store`] trait. Where they are kept is the implementation's business:
//! `sqlite_store`, or `postgres_store`.

mod error;
mod future;
mod keyring_fault;
pub mod keys;
pub mod record;
mod record_fault;
mod storage_fault;
pub mod trail;
mod trail_fault;

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    clock::BootMoment,
    id::{AgentName, CapabilityKey, IntegrationId, OwnerId},
    telemetry::audit::{AuditEvent, AuditLine, ChainPoint},
};

pub use error::StoreError;
pub use future::StoreFuture;
pub use keyring_fault::KeyringFault;
pub use keys::{
    KeyRecord, KeyState, KeyStore, KeyUse, NamedKeys, RowKey, RowPlace, RowStep, RowsSeen, StoredKeyring,
};
pub use record::{
    AgentRecord, Contents, DatabaseFacts, Grant, Health, HolderRecord, IntegrationRecord, RenewalIntent,
    RenewalOutcome, RevocationRecord, TokenRecord, UnusableRecord,
};
pub use record_fault::{AlteredRemedy, RecordFault};
pub use storage_fault::{DatabaseFault, Failed, StorageFault};
pub use trail::{RenewalHour, TrailFilter, TrailLimit, TrailPage, TrailPlace, TrailSize};
pub use trail_fault::{CountedFault, TrailFault, TrailReport, UnconfirmedEnds};

/// A store shared by the parts of the program.
pub type SharedStore = Arc<dyn Store>;

/// Durable records. When a future of this trait resolves to `Ok`, the change is on disk. Times are kept to the
/// microsecond.
///
/// What somebody is told is done has its lines in the audit trail by the same commit: methods for such changes take them
/// (`audit`). Where the change is not made, they are not written.
pub trait Store: Send + Sync + 'static {
    /// Everything, once, at start.
    fn load(&self) -> StoreFuture<'_, Contents>;

    /// One account as it is now.
    fn integration(&self, id: &IntegrationId) -> StoreFuture<'_, Option<IntegrationRecord>>;

    /// Adds an account (`replaces` is `None`), or replaces the version that was read and forgets its
    /// access tokens and renewal intent. [`StoreError::Conflict`] when that version is no longer there.
    /// Returns the new version, which is higher than the one before.
    fn put_integration(
        &self,
        record: IntegrationRecord,
        replaces: Option<u64>,
        audit: Vec<AuditEvent>,
    ) -> StoreFuture<'_, u64>;

    /// Records what the person was asked for and did not give, in place of what was recorded before. The grant
    /// stays as it is, and so does its version. False when the account is gone.
    fn set_declined(&self, id: &IntegrationId, declined: Arc<[CapabilityKey]>) -> StoreFuture<'_, bool>;

    /// Commits the intent to renew and returns the grant as it was just before, earlier intent included:
    /// one that is still there was cut short by a crash. `None` when the account is gone.
    fn begin_renewal(&self, id: &IntegrationId, now: Timestamp) -> StoreFuture<'_, Option<Grant>>;

    /// Commits the outcome of a renewal and clears its intent, if the account still has `version`. A grant that does
    /// not work any more loses its access tokens with it. Returns the version after the commit;
    /// [`StoreError::Conflict`] when the account was replaced or deleted meanwhile.
    fn finish_renewal(
        &self,
        id: &IntegrationId,
        version: u64,
        outcome: RenewalOutcome,
    ) -> StoreFuture<'_, u64>;

    /// Deletes an account with its access tokens. False when it was not there.
    fn delete_integration(&self, id: &IntegrationId, audit: Vec<AuditEvent>) -> StoreFuture<'_, bool>;

    /// Deletes an account as [`Store::delete_integration`] does, and in the same transaction keeps its grant
    /// among those that are still to be revoked. False when it was not there.
    fn enqueue_revocation(
        &self,
        id: &IntegrationId,
        since: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> StoreFuture<'_, bool>;

    /// Keeps another secret for a grant that is still to be revoked. Nothing where it is among those no more.
    fn put_revocation(&self, revocation: RevocationRecord) -> StoreFuture<'_, ()>;

    /// Forgets a grant that was to be revoked: it is done, or it is given up.
    fn complete_revocation(&self, id: &IntegrationId, audit: Vec<AuditEvent>) -> StoreFuture<'_, ()>;

    /// Deletes an account's access tokens; the grant stays.
    fn forget_tokens(&self, id: &IntegrationId) -> StoreFuture<'_, ()>;

    /// Adds or replaces an agent that came over the API.
    fn put_agent(&self, agent: AgentRecord, audit: Vec<AuditEvent>) -> StoreFuture<'_, ()>;

    /// Deletes such an agent, and notes that the next holder of its name is another. False when it was not there.
    fn delete_agent(&self, name: &AgentName, audit: Vec<AuditEvent>) -> StoreFuture<'_, bool>;

    /// Deletes the record of an agent whose name a file has. False when it was not there.
    fn give_way(&self, name: &AgentName, audit: Vec<AuditEvent>) -> StoreFuture<'_, bool>;

    /// Adds or replaces who holds which agent, and forgets the agents `gone`; all of it or nothing.
    fn change_holders(&self, kept: Vec<HolderRecord>, gone: Vec<AgentName>) -> StoreFuture<'_, ()>;

    /// Whether a security event of this id was acted on already, as far as that is remembered.
    fn is_event_known(&self, id: &str) -> StoreFuture<'_, bool>;

    /// Remembers a security event that was acted on, and that concerned this account, or nobody. The account's oldest
    /// make room, then the oldest of all.
    fn remember_event(
        &self,
        id: &str,
        account: Option<&IntegrationId>,
        now: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> StoreFuture<'_, ()>;

    /// Appends events to the audit chain, in order.
    fn append_audit(&self, events: Vec<AuditEvent>) -> StoreFuture<'_, ()>;

    /// Lines of the audit chain after `after`, oldest first, at most `limit`; with `newest`, the last
    /// `limit` lines instead of the first.
    fn audit(&self, after: u64, limit: u32, newest: bool) -> StoreFuture<'_, Vec<AuditLine>>;

    /// A page of the audit trail as people read it: the lines that fit `filter`, newest first, at most `limit`. In a
    /// long trail where few lines fit, a page may end before it is full; it says so.
    fn trail(&self, filter: TrailFilter, place: TrailPlace, limit: u32) -> StoreFuture<'_, TrailPage>;

    /// How many tokens were renewed, and how many renewals failed, in each of the `hours` hours from `from` on; only
    /// with an owner's accounts, where one is given.
    fn renewals(
        &self,
        owner: Option<&OwnerId>,
        from: Timestamp,
        hours: u32,
    ) -> StoreFuture<'_, Vec<RenewalHour>>;

    /// What keeps the records, and how large it is.
    fn facts(&self) -> StoreFuture<'_, DatabaseFacts>;

    /// The last line of the audit chain.
    fn trail_head(&self) -> StoreFuture<'_, ChainPoint>;

    /// The last line of the audit chain, to be noted down elsewhere: one that is kept for as long as lines are. Where the last
    /// is one that is counted when it is old, another is written behind it.
    fn lasting_head(&self, now: Timestamp) -> StoreFuture<'_, ChainPoint>;

    /// Recomputes the whole audit chain, and whether `head`, which was its last line once, is a part of it still.
    fn verify_audit(&self, head: Option<ChainPoint>) -> StoreFuture<'_, TrailReport>;

    /// Lets the trail's own time come to the present, and returns it. It runs with the uptime and only leans towards the wall
    /// clock, which may be wrong by years. To be called now and then, at least once an hour.
    fn tick_trail(&self, now: Timestamp, moment: Option<BootMoment>) -> StoreFuture<'_, Timestamp>;

    /// Counts the routine lines of each whole week that is older than `before` by the trail's own time, in place of keeping
    /// them. Returns how many lines were gone through.
    fn count_audit(&self, before: Timestamp) -> StoreFuture<'_, u64>;

    /// Deletes the lines that are older than `before` by the trail's own time. Lines from before it had one go by theirs: up to
    /// the first that is not older; the chain stays verifiable from
    /// there on. Returns how many were deleted.
    fn prune_audit(&self, before: Timestamp) -> StoreFuture<'_, u64>;

    /// Deletes the oldest lines where the trail takes more than `most` bytes of the disk, or than half of its volume, until
    /// it takes clearly less; the chain stays verifiable from there on. Returns how many were deleted.
    fn bound_audit(&self, most: u64) -> StoreFuture<'_, u64>;

    /// How much of the disk the audit trail takes, and may take.
    fn trail_size(&self) -> StoreFuture<'_, TrailSize>;
}
