//! The store of one node: an `SQLite` database in a folder of its own.
//!
//! One thread writes, with group commit ([`writer`]); readers have connections of their own ([`reader`]). The
//! database is in WAL mode with `synchronous=FULL`: what was answered is on disk, and a process that is killed
//! leaves a database that opens again. No `rusqlite` type leaves this module.

mod agents;
mod backup;
mod bound;
mod checkpoint;
mod column;
mod committer;
mod connection;
mod damage;
mod fault;
mod file_system;
mod folder;
mod give_back;
mod grants;
mod health_column;
mod holders;
mod integrations;
mod integrity;
mod key_check;
mod lineage;
mod objects;
mod operation;
mod pages;
mod place;
mod reader;
mod reserve;
mod restore;
mod revocations;
mod rows;
mod schema;
mod security_events;
mod take_over;
#[cfg(test)]
mod tests;
mod tokens;
mod trail;
mod trail_clock;
mod trail_count;
mod trail_ends;
mod trail_page;
mod trail_prune;
mod trail_row;
mod trail_shown;
mod trail_size;
mod trail_verify;
mod trail_week;
mod upkeep;
mod volume;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rusqlite::Connection;

use crate::{
    clock::BootMoment,
    id::{AgentName, CapabilityKey, IntegrationId, OwnerId},
    telemetry::audit::{AuditEvent, AuditLine, ChainPoint, ChainReport},
    vault::Vault,
};

use super::{
    AgentRecord, Contents, DatabaseFacts, Grant, HolderRecord, IntegrationRecord, RenewalHour,
    RenewalOutcome, RevocationRecord, Store, StoreError, StoreFuture, TrailFilter, TrailPage, TrailPlace,
    TrailSize,
};
pub use backup::DatabaseCopy;
use committer::Files;
use fault::Fault;
use lineage::{Before, Note};
use operation::Rank;
use place::Place;
use reader::Readers;
pub use restore::Restore;
use trail_size::Limit;
use volume::Room;
use writer::Writer;

/// Records in a state folder, which it owns until it is closed or dropped.
pub struct SqliteStore {
    // Dropped first: the last connection to go tidies up, and that should be the writer's.
    readers: Readers,
    writer: Writer,
    /// Binds what rows say to the master key.
    vault: Arc<Vault>,
    state_dir: PathBuf,
    trail_limit: Limit,
}

impl SqliteStore {
    /// Opens the database in `state_dir`, which both come to be if need be, and brings it up to date. Blocks.
    ///
    /// Fails when another daemon has it open ([`StoreError::Locked`]), when it was written by a newer version
    /// ([`StoreError::Newer`]), when it is sealed with a master key that `vault` lacks
    /// ([`StoreError::WrongKey`]), and when the file, its folder or the disk is not fit for use. A database
    /// that is refused is left as it is.
    pub fn open(state_dir: &Path, vault: &Arc<Vault>) -> Result<Self, StoreError> {
        let lock = folder::claim(state_dir)?;
        lineage::refuse_unfinished_restore(state_dir)?;
        backup::tidy(state_dir);
        let path = folder::database_file(state_dir)?;
        let (connection, place, room, note) = match open_database(state_dir, &path, vault) {
            Err(StoreError::Storage { .. }) if Room::beside(&path).give_reserve_of_full_disk() => {
                open_database(state_dir, &path, vault)?
            }
            opened => opened?,
        };
        let (connection, place, room, note) =
            if give_back::can_be_renewed(&connection, &path).map_err(|fault| fault.at(&path))? {
                drop((connection, place, room, note));
                match give_back::renew(state_dir, &path).map_err(|fault| fault.at(&path)) {
                    Ok(()) => tracing::info!("the database was written anew: from now on it gives room back"),
                    Err(error) => tracing::warn!(%error, "the database gives no room back yet"),
                }
                open_database(state_dir, &path, vault)?
            } else {
                (connection, place, room, note)
            };
        let files = Files {
            path: path.clone(),
            place: place.clone(),
            room,
            note,
        };
        Ok(Self {
            readers: Readers::new(path, place),
            writer: Writer::start(connection, files, lock)?,
            vault: vault.clone(),
            state_dir: state_dir.to_owned(),
            trail_limit: Limit::default(),
        })
    }

    /// Copies the database as it is at this moment, while it goes on being written, into a folder of its own in `folder`;
    /// in the state folder where that is `None`. Access tokens are not copied.
    pub async fn copy(&self, folder: Option<&Path>) -> Result<DatabaseCopy, StoreError> {
        let folder = folder.unwrap_or(&self.state_dir).to_owned();
        self.read(move |connection| backup::take(connection, &folder))
            .await
    }

    /// Does the same to the database in `state_dir`, on which no daemon runs. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when one does.
    pub fn copy_of_stopped(state_dir: &Path, folder: &Path) -> Result<DatabaseCopy, StoreError> {
        backup::take_of_stopped(state_dir, folder)
    }

    /// Writes into the audit trail that the database was restored, or is a copy that was put back, where it was and the trail
    /// does not say so yet.
    pub async fn tell_of_restore(&self, now: Timestamp) -> Result<(), StoreError> {
        self.write_bound(Rank::Vital, move |connection, vault| {
            lineage::tell(connection, vault, now)
        })
        .await
    }

    /// Tries the keys of `vault` on the database in `state_dir`, and changes nothing. False where there is no database yet.
    /// A daemon may have it open. Blocks.
    ///
    /// # Errors
    /// [`StoreError::WrongKey`] when its rows need another key, or why it cannot be read.
    pub fn try_key(state_dir: &Path, vault: &Vault) -> Result<bool, StoreError> {
        let path = state_dir.join(folder::DATABASE);
        if !path.exists() {
            return Ok(false);
        }
        let connection = connection::open_reader(&path)?;
        if schema::version(&connection).map_err(|error| Fault::from(error).at(&path))? == 0 {
            return Ok(false);
        }
        let verified = key_check::verify(&connection, &path, vault).map_err(|fault| fault.at(&path));
        verified.map(|_| true)
    }

    /// Commits what waits, empties the write-ahead log into the database and releases the folder. Whatever
    /// is asked afterwards gets [`StoreError::Closed`]. Dropping the store does the same and blocks meanwhile.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Resolves when the thread that writes comes round to answer: whether changes can be written. Changes nothing.
    ///
    /// # Errors
    /// Why they cannot; [`StoreError::Closed`] when the thread has ended.
    pub async fn prove_writable(&self) -> Result<(), StoreError> {
        self.writer.prove().await
    }

    fn read<T, F>(&self, work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        Box::pin(self.readers.run(work))
    }

    /// Reads rows that are bound to the master key.
    fn read_bound<T, F>(&self, work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Vault) -> Result<T, Fault> + Send + 'static,
    {
        let vault = self.vault.clone();
        self.read(move |connection| work(connection, &vault))
    }

    fn write<T, F>(&self, rank: Rank, work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        Box::pin(self.writer.run(rank, work))
    }

    /// Writes rows that are bound to the master key.
    fn write_bound<T, F>(&self, rank: Rank, mut work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnMut(&Connection, &Vault) -> Result<T, Fault> + Send + 'static,
    {
        let vault = self.vault.clone();
        self.write(rank, move |connection| work(connection, &vault))
    }
}

/// Opens the database at `path` to be written, and brings it up to date.
fn open_database(
    state_dir: &Path,
    path: &Path,
    vault: &Vault,
) -> Result<(Connection, Arc<Place>, Room, Note), StoreError> {
    let (mut connection, room) = connection::open_writer(path)?;
    let place = Arc::new(Place::of(state_dir)?);
    let note = prepare(&mut connection, path, vault).map_err(|fault| fault.at(path))?;
    Ok((connection, place, room, note))
}

/// What is wrong with a database is found before anything in it changes.
fn prepare(connection: &mut Connection, path: &Path, vault: &Vault) -> Result<Note, Fault> {
    let mut before = Before::New;
    if schema::version(connection)? == 0 {
        create(connection, vault)?;
    } else {
        objects::check_tables(connection, path)?;
        schema::check(connection, path)?;
        let bound = key_check::verify(connection, path, vault)?;
        before = Before::of(connection)?;
        objects::remove_foreign(connection)?;
        schema::migrate(connection)?;
        objects::restore_missing(connection)?;
        take_over::run(connection, vault, bound)?;
        trail_ends::report(connection, vault)?;
        key_check::note(connection, vault)?;
    }
    let note = lineage::settle(connection, path, before)?;
    // All of it was read once. What is needed from now on is found by itself.
    connection.execute_batch("PRAGMA shrink_memory")?;
    Ok(note)
}

/// A new database, all of it or nothing: one without its marks would not be believed.
fn create(connection: &mut Connection, vault: &Vault) -> Result<(), Fault> {
    let transaction = connection.transaction()?;
    schema::create(&transaction)?;
    trail_ends::take_over(&transaction, vault)?;
    key_check::note(&transaction, vault)?;
    Ok(transaction.commit()?)
}

fn facts(connection: &Connection) -> Result<DatabaseFacts, Fault> {
    Ok(DatabaseFacts {
        engine: format!("SQLite {}", rusqlite::version()),
        bytes: pages::all(connection)?,
    })
}

/// Writes the lines of a change, where it was made.
fn told(connection: &Connection, vault: &Vault, done: bool, audit: &[AuditEvent]) -> Result<bool, Fault> {
    if done {
        trail::append(connection, vault, audit)?;
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
            trail::append(connection, vault, &audit)?;
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

    fn owe_revocation(
        &self,
        id: &IntegrationId,
        since: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> StoreFuture<'_, bool> {
        let id = id.clone();
        self.write_bound(Rank::Vital, move |connection, vault| {
            let owed = revocations::owe(connection, vault, &id, since)?;
            told(connection, vault, owed, &audit)
        })
    }

    fn put_revocation(&self, revocation: RevocationRecord) -> StoreFuture<'_, ()> {
        self.write_bound(Rank::Vital, move |connection, vault| {
            revocations::put(connection, vault, &revocation)
        })
    }

    fn settle_revocation(&self, id: &IntegrationId, audit: Vec<AuditEvent>) -> StoreFuture<'_, ()> {
        let id = id.clone();
        self.write_bound(Rank::Vital, move |connection, vault| {
            revocations::settle(connection, &id)?;
            trail::append(connection, vault, &audit)
        })
    }

    fn forget_tokens(&self, id: &IntegrationId) -> StoreFuture<'_, ()> {
        let id = id.clone();
        self.write(Rank::Vital, move |connection| tokens::forget(connection, &id))
    }

    fn put_agent(&self, agent: AgentRecord, audit: Vec<AuditEvent>) -> StoreFuture<'_, ()> {
        self.write_bound(Rank::Addition, move |connection, vault| {
            agents::put(connection, vault, &agent)?;
            trail::append(connection, vault, &audit)
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
            trail::append(connection, vault, &audit)
        })
    }

    fn append_audit(&self, events: Vec<AuditEvent>) -> StoreFuture<'_, ()> {
        let vault = self.vault.clone();
        let append = move |connection: &Connection| trail::append(connection, &vault, &events);
        Box::pin(self.writer.run(Rank::Trail, append))
    }

    fn audit(&self, after: u64, limit: u32, newest: bool) -> StoreFuture<'_, Vec<AuditLine>> {
        self.read(move |connection| trail::list(connection, after, limit, newest))
    }

    fn trail(&self, filter: TrailFilter, place: TrailPlace, limit: u32) -> StoreFuture<'_, TrailPage> {
        self.read(move |connection| trail_page::page(connection, &filter, place, limit))
    }

    fn renewals(
        &self,
        owner: Option<&OwnerId>,
        from: Timestamp,
        hours: u32,
    ) -> StoreFuture<'_, Vec<RenewalHour>> {
        let owner = owner.cloned();
        self.read(move |connection| {
            trail_page::renewals(connection, owner.as_ref().map(OwnerId::as_str), from, hours)
        })
    }

    fn facts(&self) -> StoreFuture<'_, DatabaseFacts> {
        self.read(facts)
    }

    fn trail_head(&self) -> StoreFuture<'_, ChainPoint> {
        self.read(|connection| Ok(trail_ends::as_found(connection)?.end))
    }

    fn lasting_head(&self, now: Timestamp) -> StoreFuture<'_, ChainPoint> {
        self.write_bound(Rank::Trail, move |connection, vault| {
            trail::lasting_head(connection, vault, now)
        })
    }

    fn verify_audit(&self, head: Option<ChainPoint>) -> StoreFuture<'_, ChainReport> {
        self.read_bound(move |connection, vault| trail_verify::verify(connection, vault, head))
    }

    fn tick_trail(&self, now: Timestamp, moment: Option<BootMoment>) -> StoreFuture<'_, Timestamp> {
        self.write_bound(Rank::Vital, move |connection, vault| {
            trail_clock::tick(connection, vault, now, moment)
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
        self.read(move |connection| trail_size::told(connection, limit))
    }
}
