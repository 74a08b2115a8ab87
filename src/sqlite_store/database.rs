//! The database of a state folder: opened, read, written, copied, closed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rusqlite::Connection;

use crate::{
    audit_trail::{self, size::Limit},
    sql::Fault,
    sqlite::{
        connection, fault::FileFault, folder, objects, operation::Rank, place::Place, reader::Readers,
        schema, volume::Room,
    },
    sqlite_store::{
        backup::{self, DatabaseCopy},
        committer::Files,
        give_back, key_check,
        lineage::{self, Before, Note},
        take_over,
        writer::Writer,
    },
    store::{StoreError, StoreFuture, StoredKeyring},
    tables::keyring,
    vault::Vault,
};

/// Records in a state folder, which it owns until it is closed or dropped.
pub struct SqliteStore {
    // Dropped first: the last connection to go tidies up, and that should be the writer's.
    readers: Readers,
    pub(super) writer: Writer,
    /// Binds what rows say to the keyring.
    pub(super) vault: Arc<Vault>,
    pub(super) state_dir: PathBuf,
    pub(super) trail_limit: Limit,
}

impl SqliteStore {
    /// Opens the database in `state_dir`, which both come to be if need be, and brings it up to date. Blocks.
    ///
    /// Fails when another daemon has it open ([`StoreError::Locked`]), when it was written by a newer version
    /// ([`StoreError::Newer`]), when it is sealed with a master key that `vault` lacks
    /// ([`StoreError::WrongKey`]), and when the file, its folder or the disk is not fit for use. A database
    /// that is refused is left as it is.
    pub fn open(state_dir: &Path, vault: &Arc<Vault>) -> Result<Self, StoreError> {
        Self::open_with(state_dir, vault, None)
    }

    /// The same; a database that has no keyring gets `keyring`, whose keys `vault` has.
    pub fn open_with(
        state_dir: &Path,
        vault: &Arc<Vault>,
        keyring: Option<&StoredKeyring>,
    ) -> Result<Self, StoreError> {
        let lock = folder::claim(state_dir)?;
        lineage::refuse_unfinished_restore(state_dir)?;
        backup::tidy(state_dir);
        let path = folder::database_file(state_dir)?;
        let (connection, place, room, note) = match open_database(state_dir, &path, (vault, keyring)) {
            Err(StoreError::Storage { .. }) if Room::beside(&path).give_reserve_of_full_disk() => {
                open_database(state_dir, &path, (vault, keyring))?
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
                open_database(state_dir, &path, (vault, keyring))?
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

    pub(super) fn read<T, F>(&self, work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        Box::pin(self.readers.run(work))
    }

    /// Reads rows that are bound to the keyring.
    pub(super) fn read_bound<T, F>(&self, work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Vault) -> Result<T, Fault> + Send + 'static,
    {
        // A read sees the rows of one moment, from now on, and judges them by the keys of now.
        let vault = self.vault.pinned();
        self.read(move |connection| work(connection, &vault))
    }

    pub(super) fn write<T, F>(&self, rank: Rank, work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        Box::pin(self.writer.run(rank, work))
    }

    /// Writes rows that are bound to the keyring.
    pub(super) fn write_bound<T, F>(&self, rank: Rank, mut work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnMut(&Connection, &Vault) -> Result<T, Fault> + Send + 'static,
    {
        let vault = self.vault.clone();
        self.write(rank, move |connection| work(connection, &vault))
    }
}

/// The keys in use, and the keyring for a database that has none.
type Keys<'a> = (&'a Vault, Option<&'a StoredKeyring>);

/// Opens the database at `path` to be written, and brings it up to date.
fn open_database(
    state_dir: &Path,
    path: &Path,
    keys: Keys<'_>,
) -> Result<(Connection, Arc<Place>, Room, Note), StoreError> {
    let (mut connection, room) = connection::open_writer(path)?;
    let place = Arc::new(Place::of(state_dir)?);
    let note = prepare(&mut connection, path, keys).map_err(|fault| fault.at(path))?;
    Ok((connection, place, room, note))
}

/// What is wrong with a database is found before anything in it changes.
fn prepare(connection: &mut Connection, path: &Path, keys: Keys<'_>) -> Result<Note, Fault> {
    let (vault, keyring) = keys;
    let mut before = Before::New;
    if schema::version(connection)? == 0 {
        create(connection, keys)?;
    } else {
        objects::check_tables(connection, path)?;
        schema::check(connection, path)?;
        let bound = key_check::verify(connection, path, vault)?;
        if keyring.is_some() {
            key_check::refuse_keyless(connection)?;
        }
        before = Before::of(connection)?;
        objects::remove_foreign(connection)?;
        schema::migrate(connection)?;
        objects::restore_missing(connection)?;
        take_over::run(connection, vault, bound)?;
        audit_trail::ends::report(connection, vault)?;
        name_keys(connection, (vault, keyring))?;
    }
    let note = lineage::settle(connection, path, before)?;
    // All of it was read once. What is needed from now on is found by itself.
    connection.execute_batch("PRAGMA shrink_memory")?;
    Ok(note)
}

/// A new database, all of it or nothing: one without its marks would not be believed.
fn create(connection: &mut Connection, (vault, keyring): Keys<'_>) -> Result<(), Fault> {
    let transaction = connection.transaction()?;
    schema::create(&transaction)?;
    audit_trail::ends::take_over(&*transaction, vault)?;
    match keyring {
        Some(keyring) => key_check::found(&transaction, keyring)?,
        None => key_check::note(&transaction, vault)?,
    }
    Ok(transaction.commit()?)
}

/// Names the keys that rows of a database lie under, where it does not name them yet.
fn name_keys(connection: &mut Connection, (vault, keyring): Keys<'_>) -> Result<(), Fault> {
    if keyring::read(connection)?.is_some() {
        return Ok(());
    }
    let Some(keyring) = keyring else {
        return key_check::note(connection, vault);
    };
    let transaction = connection.transaction()?;
    key_check::found(&transaction, keyring)?;
    Ok(transaction.commit()?)
}
