//! What the trait [`Store`] asks for, as reads and writes of this database.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::spawn_blocking;

use crate::{
    audit_trail::{self, upkeep as trail_upkeep},
    clock::BootMoment,
    id::{AgentName, CapabilityKey, IntegrationId, OwnerId},
    postgres_store::{accounts, database::PostgresStore, grants, journal::Entry, tokens, upkeep},
    sql::{Fault, Sql, column},
    store::{
        AgentRecord, Contents, DatabaseFacts, Grant, HolderRecord, IntegrationRecord, RenewalHour,
        RenewalOutcome, RevocationRecord, Store, StoreError, StoreFuture, TrailFilter, TrailPage, TrailPlace,
        TrailReport, TrailSize,
    },
    tables::{agents, holders, revocations, security_events},
    telemetry::audit::{AuditEvent, AuditLine, ChainPoint},
    vault::Vault,
};

fn facts(sql: &dyn Sql) -> Result<DatabaseFacts, Fault> {
    let version = sql.one(
        "SELECT current_setting('server_version') AS version",
        &[],
        |row| Ok(column::text(row, "version").unwrap_or_default().to_owned()),
    )?;
    let bytes = sql.number("SELECT pg_database_size(current_database())", &[])?;
    Ok(DatabaseFacts {
        engine: format!("PostgreSQL {}", version.unwrap_or_default()),
        bytes: bytes.unwrap_or_default().unsigned_abs(),
    })
}

/// Writes the lines of a change, where it was made.
fn told(sql: &dyn Sql, vault: &Vault, done: bool, audit: &[AuditEvent]) -> Result<bool, Fault> {
    if done {
        audit_trail::lines::append(sql, vault, audit)?;
    }
    Ok(done)
}

impl PostgresStore {
    /// Commits a grant that was rotated, which is on this broker's disk before the database hears of it.
    async fn finish_rotated(
        &self,
        entry: Entry,
        commit: impl FnMut(&dyn Sql, &Vault) -> Result<u64, Fault> + Send + 'static,
    ) -> Result<u64, StoreError> {
        let (journal, vault, id) = (self.journal.clone(), self.vault.clone(), entry.id.clone());
        let written = spawn_blocking(move || journal.write(&vault, &entry)).await;
        if let Ok(Err(error)) = written {
            tracing::error!(integration = %id, %error, "a rotated grant is not in the journal: the database alone keeps it");
        }
        let kept = self.write(commit).await;
        // Otherwise it is tried again, or found at the next start.
        if matches!(kept, Ok(_) | Err(StoreError::Conflict)) {
            let journal = self.journal.clone();
            // One that stays costs a look at the next start.
            let _ = spawn_blocking(move || journal.remove(&id)).await;
        }
        kept
    }
}

impl Store for PostgresStore {
    fn load(&self) -> StoreFuture<'_, Contents> {
        self.read_bound(|sql, vault| {
            let mut unusable = Vec::new();
            Ok(Contents {
                integrations: accounts::load(sql, vault, &mut unusable)?,
                tokens: tokens::load(sql, vault, &mut unusable)?,
                agents: agents::load(sql, vault, &mut unusable)?,
                holders: holders::load(sql, vault, &mut unusable)?,
                revocations: revocations::load(sql, vault, &mut unusable)?,
                unchecked: Vec::new(),
                unusable,
            })
        })
    }

    fn integration(&self, id: &IntegrationId) -> StoreFuture<'_, Option<IntegrationRecord>> {
        let id = id.clone();
        self.read_bound(move |sql, vault| accounts::get(sql, vault, &id))
    }

    fn put_integration(
        &self,
        record: IntegrationRecord,
        replaces: Option<u64>,
        audit: Vec<AuditEvent>,
    ) -> StoreFuture<'_, u64> {
        self.write(move |sql, vault| {
            let version = accounts::put(sql, vault, &record, replaces)?;
            audit_trail::lines::append(sql, vault, &audit)?;
            Ok(version)
        })
    }

    fn set_declined(&self, id: &IntegrationId, declined: Arc<[CapabilityKey]>) -> StoreFuture<'_, bool> {
        let id = id.clone();
        self.write(move |sql, vault| accounts::set_declined(sql, vault, &id, &declined))
    }

    fn begin_renewal(&self, id: &IntegrationId, now: Timestamp) -> StoreFuture<'_, Option<Grant>> {
        let (id, broker) = (id.clone(), self.broker.clone());
        self.write(move |sql, vault| grants::begin(sql, vault, (&id, &broker), now))
    }

    fn finish_renewal(
        &self,
        id: &IntegrationId,
        version: u64,
        outcome: RenewalOutcome,
    ) -> StoreFuture<'_, u64> {
        let id = id.clone();
        let entry = Entry::of(&id, version, &outcome);
        let commit = move |sql: &dyn Sql, vault: &Vault| grants::finish(sql, vault, &id, version, &outcome);
        match entry {
            Some(entry) => Box::pin(self.finish_rotated(entry, commit)),
            None => self.write(commit),
        }
    }

    fn delete_integration(&self, id: &IntegrationId, audit: Vec<AuditEvent>) -> StoreFuture<'_, bool> {
        let id = id.clone();
        self.write(move |sql, vault| {
            let deleted = accounts::delete(sql, &id)?;
            told(sql, vault, deleted, &audit)
        })
    }

    fn enqueue_revocation(
        &self,
        id: &IntegrationId,
        since: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> StoreFuture<'_, bool> {
        let id = id.clone();
        self.write(move |sql, vault| {
            let Some(account) = accounts::take(sql, vault, &id)? else {
                return Ok(false);
            };
            revocations::add(sql, vault, account, since)?;
            let deleted = accounts::delete(sql, &id)?;
            told(sql, vault, deleted, &audit)
        })
    }

    fn put_revocation(&self, revocation: RevocationRecord) -> StoreFuture<'_, ()> {
        self.write(move |sql, vault| revocations::put(sql, vault, &revocation))
    }

    fn complete_revocation(&self, id: &IntegrationId, audit: Vec<AuditEvent>) -> StoreFuture<'_, ()> {
        let id = id.clone();
        self.write(move |sql, vault| {
            revocations::settle(sql, &id)?;
            audit_trail::lines::append(sql, vault, &audit)
        })
    }

    fn forget_tokens(&self, id: &IntegrationId) -> StoreFuture<'_, ()> {
        let id = id.clone();
        self.write(move |sql, _| tokens::forget(sql, &id))
    }

    fn put_agent(&self, agent: AgentRecord, audit: Vec<AuditEvent>) -> StoreFuture<'_, ()> {
        self.write(move |sql, vault| {
            agents::put(sql, vault, &agent)?;
            audit_trail::lines::append(sql, vault, &audit)
        })
    }

    fn delete_agent(&self, name: &AgentName, audit: Vec<AuditEvent>) -> StoreFuture<'_, bool> {
        let name = name.clone();
        self.write(move |sql, vault| {
            let deleted = agents::delete(sql, &name)?;
            holders::disown(sql, vault, &name)?;
            told(sql, vault, deleted, &audit)
        })
    }

    fn give_way(&self, name: &AgentName, audit: Vec<AuditEvent>) -> StoreFuture<'_, bool> {
        let name = name.clone();
        self.write(move |sql, vault| {
            let deleted = agents::delete(sql, &name)?;
            told(sql, vault, deleted, &audit)
        })
    }

    fn change_holders(&self, kept: Vec<HolderRecord>, gone: Vec<AgentName>) -> StoreFuture<'_, ()> {
        self.write(move |sql, vault| holders::change(sql, vault, &kept, &gone))
    }

    fn is_event_known(&self, id: &str) -> StoreFuture<'_, bool> {
        let id = id.to_owned();
        self.read(move |sql| security_events::is_known(sql, &id))
    }

    fn remember_event(
        &self,
        id: &str,
        account: Option<&IntegrationId>,
        now: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> StoreFuture<'_, ()> {
        let (id, account) = (id.to_owned(), account.cloned());
        self.write(move |sql, vault| {
            security_events::remember(sql, &id, account.as_ref(), now)?;
            audit_trail::lines::append(sql, vault, &audit)
        })
    }

    fn append_audit(&self, events: Vec<AuditEvent>) -> StoreFuture<'_, ()> {
        self.write(move |sql, vault| audit_trail::lines::append(sql, vault, &events))
    }

    fn audit(&self, after: u64, limit: u32, newest: bool) -> StoreFuture<'_, Vec<AuditLine>> {
        self.read(move |sql| audit_trail::lines::list(sql, after, limit, newest))
    }

    fn trail(&self, filter: TrailFilter, place: TrailPlace, limit: u32) -> StoreFuture<'_, TrailPage> {
        self.read(move |sql| audit_trail::page::page(sql, &filter, place, limit))
    }

    fn renewals(
        &self,
        owner: Option<&OwnerId>,
        from: Timestamp,
        hours: u32,
    ) -> StoreFuture<'_, Vec<RenewalHour>> {
        let owner = owner.cloned();
        self.read(move |sql| {
            audit_trail::page::renewals(sql, owner.as_ref().map(OwnerId::as_str), from, hours)
        })
    }

    fn facts(&self) -> StoreFuture<'_, DatabaseFacts> {
        self.read(facts)
    }

    fn trail_head(&self) -> StoreFuture<'_, ChainPoint> {
        self.read(|sql| Ok(audit_trail::ends::as_found(sql)?.end))
    }

    fn lasting_head(&self, now: Timestamp) -> StoreFuture<'_, ChainPoint> {
        self.write(move |sql, vault| audit_trail::lines::lasting_head(sql, vault, now))
    }

    fn verify_audit(&self, head: Option<ChainPoint>) -> StoreFuture<'_, TrailReport> {
        self.read_bound(move |sql, vault| audit_trail::verify::verify(sql, vault, head))
    }

    fn tick_trail(&self, now: Timestamp, moment: Option<BootMoment>) -> StoreFuture<'_, Timestamp> {
        self.write(move |sql, vault| audit_trail::clock::tick(sql, vault, now, moment))
    }

    fn count_audit(&self, before: Timestamp) -> StoreFuture<'_, u64> {
        Box::pin(trail_upkeep::count(self, before))
    }

    fn prune_audit(&self, before: Timestamp) -> StoreFuture<'_, u64> {
        Box::pin(trail_upkeep::prune(self, before))
    }

    fn bound_audit(&self, most: u64) -> StoreFuture<'_, u64> {
        Box::pin(trail_upkeep::bound(self, self.trail_limit.set(most, None).bytes))
    }

    fn trail_size(&self) -> StoreFuture<'_, TrailSize> {
        let limit = self.trail_limit.get();
        self.read(move |sql| upkeep::told(sql, limit))
    }
}
