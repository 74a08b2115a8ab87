//! What the trait [`Store`] asks for, as reads and writes of this database.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;

use crate::{
    audit_trail,
    clock::BootMoment,
    id::{AgentName, CapabilityKey, IntegrationId, OwnerId},
    sql::Fault,
    sqlite::{operation::Rank, pages},
    sqlite_store::{database::SqliteStore, grants, integrations, lineage, tokens, upkeep},
    store::{
        AgentRecord, Contents, DatabaseFacts, Grant, HolderRecord, IntegrationRecord, RenewalHour,
        RenewalOutcome, RevocationRecord, Store, StoreFuture, TrailFilter, TrailPage, TrailPlace,
        TrailReport, TrailSize,
    },
    tables::{agents, holders, revocations, security_events},
    telemetry::audit::{AuditEvent, AuditLine, ChainPoint},
    vault::Vault,
};

fn facts(connection: &Connection) -> Result<DatabaseFacts, Fault> {
    Ok(DatabaseFacts {
        engine: format!("SQLite {}", rusqlite::version()),
        bytes: pages::all(connection)?,
    })
}

/// Writes the lines of a change, where it was made.
fn told(connection: &Connection, vault: &Vault, done: bool, audit: &[AuditEvent]) -> Result<bool, Fault> {
    if done {
        audit_trail::lines::append(connection, vault, audit)?;
    }
    Ok(done)
}

impl Store for SqliteStore {
    fn load(&self) -> StoreFuture<'_, Contents> {
        self.read_bound(|connection, vault| {
            let mut unusable = Vec::new();
            Ok(Contents {
                integrations: integrations::load(connection, vault, &mut unusable)?,
                tokens: tokens::load(connection, vault, &mut unusable)?,
                agents: agents::load(connection, vault, &mut unusable)?,
                holders: holders::load(connection, vault, &mut unusable)?,
                revocations: revocations::load(connection, vault, &mut unusable)?,
                unchecked: lineage::unchecked(connection)?,
                unusable,
            })
        })
    }

    fn integration(&self, id: &IntegrationId) -> StoreFuture<'_, Option<IntegrationRecord>> {
        let id = id.clone();
        self.read_bound(move |connection, vault| integrations::get(connection, vault, &id))
    }

    fn put_integration(
        &self,
        record: IntegrationRecord,
        replaces: Option<u64>,
        audit: Vec<AuditEvent>,
    ) -> StoreFuture<'_, u64> {
        self.write_bound(Rank::Addition, move |connection, vault| {
            let version = integrations::put(connection, vault, &record, replaces)?;
            audit_trail::lines::append(connection, vault, &audit)?;
            Ok(version)
        })
    }

    fn set_declined(&self, id: &IntegrationId, declined: Arc<[CapabilityKey]>) -> StoreFuture<'_, bool> {
        let id = id.clone();
        self.write_bound(Rank::Addition, move |connection, vault| {
            integrations::set_declined(connection, vault, &id, &declined)
        })
    }

    fn begin_renewal(&self, id: &IntegrationId, now: Timestamp) -> StoreFuture<'_, Option<Grant>> {
        let id = id.clone();
        self.write_bound(Rank::Vital, move |connection, vault| {
            grants::begin(connection, vault, &id, now)
        })
    }

    fn finish_renewal(
        &self,
        id: &IntegrationId,
        version: u64,
        outcome: RenewalOutcome,
    ) -> StoreFuture<'_, u64> {
        let id = id.clone();
        self.write_bound(Rank::Vital, move |connection, vault| {
            grants::finish(connection, vault, &id, version, &outcome)
        })
    }

    fn delete_integration(&self, id: &IntegrationId, audit: Vec<AuditEvent>) -> StoreFuture<'_, bool> {
        let id = id.clone();
        self.write_bound(Rank::Vital, move |connection, vault| {
            let deleted = integrations::delete(connection, &id)?;
            told(connection, vault, deleted, &audit)
        })
    }

    fn enqueue_revocation(
        &self,
        id: &IntegrationId,
        since: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> StoreFuture<'_, bool> {
        let id = id.clone();
        self.write_bound(Rank::Vital, move |connection, vault| {
            let Some(account) = integrations::get(connection, vault, &id)? else {
                return Ok(false);
            };
            revocations::add(connection, vault, account, since)?;
            let deleted = integrations::delete(connection, &id)?;
            told(connection, vault, deleted, &audit)
        })
    }

    fn put_revocation(&self, revocation: RevocationRecord) -> StoreFuture<'_, ()> {
        self.write_bound(Rank::Vital, move |connection, vault| {
            revocations::put(connection, vault, &revocation)
        })
    }

    fn complete_revocation(&self, id: &IntegrationId, audit: Vec<AuditEvent>) -> StoreFuture<'_, ()> {
        let id = id.clone();
        self.write_bound(Rank::Vital, move |connection, vault| {
            revocations::settle(connection, &id)?;
            audit_trail::lines::append(connection, vault, &audit)
        })
    }

    fn forget_tokens(&self, id: &IntegrationId) -> StoreFuture<'_, ()> {
        let id = id.clone();
        self.write(Rank::Vital, move |connection| tokens::forget(connection, &id))
    }

    fn put_agent(&self, agent: AgentRecord, audit: Vec<AuditEvent>) -> StoreFuture<'_, ()> {
        self.write_bound(Rank::Addition, move |connection, vault| {
            agents::put(connection, vault, &agent)?;
            audit_trail::lines::append(connection, vault, &audit)
        })
    }

    fn delete_agent(&self, name: &AgentName, audit: Vec<AuditEvent>) -> StoreFuture<'_, bool> {
        let name = name.clone();
        self.write_bound(Rank::Vital, move |connection, vault| {
            let deleted = agents::delete(connection, &name)?;
            holders::disown(connection, vault, &name)?;
            told(connection, vault, deleted, &audit)
        })
    }

    fn give_way(&self, name: &AgentName, audit: Vec<AuditEvent>) -> StoreFuture<'_, bool> {
        let name = name.clone();
        self.write_bound(Rank::Vital, move |connection, vault| {
            let deleted = agents::delete(connection, &name)?;
            told(connection, vault, deleted, &audit)
        })
    }

    fn change_holders(&self, kept: Vec<HolderRecord>, gone: Vec<AgentName>) -> StoreFuture<'_, ()> {
        // To be nobody's any more takes no room.
        let rank = if kept.is_empty() {
            Rank::Vital
        } else {
            Rank::Addition
        };
        self.write_bound(rank, move |connection, vault| {
            holders::change(connection, vault, &kept, &gone)
        })
    }

    fn is_event_known(&self, id: &str) -> StoreFuture<'_, bool> {
        let id = id.to_owned();
        self.read(move |connection| security_events::is_known(connection, &id))
    }

    fn remember_event(
        &self,
        id: &str,
        account: Option<&IntegrationId>,
        now: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> StoreFuture<'_, ()> {
        let (id, account) = (id.to_owned(), account.cloned());
        self.write_bound(Rank::Vital, move |connection, vault| {
            security_events::remember(connection, &id, account.as_ref(), now)?;
            audit_trail::lines::append(connection, vault, &audit)
        })
    }

    fn append_audit(&self, events: Vec<AuditEvent>) -> StoreFuture<'_, ()> {
        let vault = self.vault.clone();
        let append = move |connection: &Connection| audit_trail::lines::append(connection, &vault, &events);
        Box::pin(self.writer.run(Rank::Trail, append))
    }

    fn audit(&self, after: u64, limit: u32, newest: bool) -> StoreFuture<'_, Vec<AuditLine>> {
        self.read(move |connection| audit_trail::lines::list(connection, after, limit, newest))
    }

    fn trail(&self, filter: TrailFilter, place: TrailPlace, limit: u32) -> StoreFuture<'_, TrailPage> {
        self.read(move |connection| audit_trail::page::page(connection, &filter, place, limit))
    }

    fn renewals(
        &self,
        owner: Option<&OwnerId>,
        from: Timestamp,
        hours: u32,
    ) -> StoreFuture<'_, Vec<RenewalHour>> {
        let owner = owner.cloned();
        self.read(move |connection| {
            audit_trail::page::renewals(connection, owner.as_ref().map(OwnerId::as_str), from, hours)
        })
    }

    fn facts(&self) -> StoreFuture<'_, DatabaseFacts> {
        self.read(facts)
    }

    fn trail_head(&self) -> StoreFuture<'_, ChainPoint> {
        self.read(|connection| Ok(audit_trail::ends::as_found(connection)?.end))
    }

    fn lasting_head(&self, now: Timestamp) -> StoreFuture<'_, ChainPoint> {
        self.write_bound(Rank::Trail, move |connection, vault| {
            audit_trail::lines::lasting_head(connection, vault, now)
        })
    }

    fn verify_audit(&self, head: Option<ChainPoint>) -> StoreFuture<'_, TrailReport> {
        self.read_bound(move |connection, vault| audit_trail::verify::verify(connection, vault, head))
    }

    fn tick_trail(&self, now: Timestamp, moment: Option<BootMoment>) -> StoreFuture<'_, Timestamp> {
        self.write_bound(Rank::Vital, move |connection, vault| {
            audit_trail::clock::tick(connection, vault, now, moment)
        })
    }

    fn count_audit(&self, before: Timestamp) -> StoreFuture<'_, u64> {
        Box::pin(upkeep::count(self, before))
    }

    fn prune_audit(&self, before: Timestamp) -> StoreFuture<'_, u64> {
        Box::pin(upkeep::prune(self, before))
    }

    fn bound_audit(&self, most: u64) -> StoreFuture<'_, u64> {
        Box::pin(upkeep::bound(self, most))
    }

    fn trail_size(&self) -> StoreFuture<'_, TrailSize> {
        let limit = self.trail_limit.get();
        self.read(move |connection| upkeep::told(connection, limit))
    }
}
