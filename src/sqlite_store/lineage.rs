//! Recognises a database that is older than the one that was here before: restored, or copied back by hand.
//!
//! The database counts the changes of accounts and grants under a random mark. After each commit that made some, both are
//! noted in a small file beside it ([`Note`]). The note may lag behind the database and never runs ahead of it; so a
//! database that counts less than the note, or has another mark, is not the one that was here last. What it says of its
//! accounts may be over: none of them is used before the provider has confirmed its grant.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, params};

use crate::{
    audit_trail, file,
    id::IntegrationId,
    sql::{Fault, column},
    sqlite::fault::storage,
    store::{Failed, StorageFault, StoreError},
    telemetry::audit::{Actor, AuditEvent, Decision},
    text::ShowPath,
    vault::Vault,
};

/// The note beside the database.
pub(super) const NOTE: &str = "broker.mark";
/// What the note says while a restore is under way. Nothing starts then.
const RESTORING: &str = "restoring\n";
/// What it says after one: no database is what was here last.
const RESTORED: &str = "restored\n";
/// More than any note has.
const LONGEST: u64 = 256;

/// Which database, and how often its accounts were changed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lineage {
    mark: String,
    changes: i64,
}

impl Lineage {
    fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare_cached("SELECT mark, changes FROM lineage")?;
        statement.query_row([], |row| {
            Ok(Self {
                mark: row.get("mark")?,
                changes: row.get("changes")?,
            })
        })
    }

    /// Always equally long, so that it is written over in place.
    fn line(&self) -> String {
        format!("{} {:020}\n", self.mark, self.changes)
    }

    fn parse(line: &str) -> Option<Self> {
        let (mark, changes) = line.strip_suffix('\n')?.split_once(' ')?;
        Some(Self {
            mark: mark.to_owned(),
            changes: changes.parse().ok()?,
        })
    }
}

/// The note, as it was found.
enum Found {
    Nothing,
    Lineage(Lineage),
    /// It names no database.
    Other,
}

fn find(folder: &Path) -> Result<Found, StoreError> {
    Ok(match read(folder)? {
        None => Found::Nothing,
        Some(text) => Lineage::parse(&text).map_or(Found::Other, Found::Lineage),
    })
}

fn read(folder: &Path) -> Result<Option<String>, StoreError> {
    let path = folder.join(NOTE);
    let mut text = Vec::new();
    let read = file::open(&path).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    match read {
        Ok(_) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(storage(&path, StorageFault::system(Failed::Read, &error))),
    }
}

/// Refuses a folder in which a restore was cut off: what lies there may be half of one database and half of another.
pub(super) fn refuse_unfinished_restore(folder: &Path) -> Result<(), StoreError> {
    if read(folder)?.is_some_and(|text| text == RESTORING) {
        return Err(storage(folder, StorageFault::RestoreCutOff));
    }
    Ok(())
}

/// Notes that a restore begins in `folder`, or that it has ended.
pub(super) fn note_restore(folder: &Path, is_over: bool) -> Result<(), StoreError> {
    let path = folder.join(NOTE);
    let text = if is_over { RESTORED } else { RESTORING };
    let write = || -> io::Result<()> {
        let file = open(&path)?;
        file.set_len(0)?;
        file.write_all_at(text.as_bytes(), 0)?;
        file.sync_all()?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| storage(&path, StorageFault::system(Failed::Write, &error)))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// What a database was before it was brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// There was none.
    New,
    /// One of a version that kept no count.
    Uncounted,
    /// One that kept count.
    Counted,
}

impl Before {
    /// What one that there is was.
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'lineage')";
        let counted = connection.query_row(sql, [], |row| row.get(0))?;
        Ok(if counted { Self::Counted } else { Self::Uncounted })
    }
}

/// Compares the database at `database` with the note beside it. Where it is not the one that was here last, its accounts are held until
/// they are checked, and the access tokens in it are forgotten. Returns the note, which says the same as the database.
pub(super) fn settle(connection: &mut Connection, database: &Path, before: Before) -> Result<Note, Fault> {
    let folder = database.parent().unwrap_or(database);
    let own = Lineage::of(connection)?;
    let is_put_back = match (before, find(folder)?) {
        (Before::New, _) | (Before::Uncounted, Found::Nothing) => false,
        (Before::Counted, Found::Lineage(noted)) => own.mark != noted.mark || own.changes < noted.changes,
        (Before::Counted, Found::Nothing) | (_, Found::Other) | (Before::Uncounted, Found::Lineage(_)) => {
            true
        }
    };
    if is_put_back {
        let held = hold(connection)?;
        tracing::warn!(
            accounts = held,
            "the database was restored, or is a copy that was put back: its accounts are checked with the provider before \
             they are used"
        );
    }
    let path = folder.join(NOTE);
    let mut note = open(&path)
        .map(|file| Note {
            file,
            path: path.clone(),
            noted: None,
            fails: false,
        })
        .map_err(|error| storage(&path, StorageFault::system(Failed::Open, &error)))?;
    note.follow(connection);
    note.file
        .sync_all()
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(|error| storage(&path, StorageFault::system(Failed::Write, &error)))?;
    Ok(note)
}

/// Another mark, since from here on it is another database than the one that it is a copy of.
const NEW_MARK: &str = "UPDATE lineage SET mark = lower(hex(randomblob(16))), changes = changes + 1";

fn hold(connection: &mut Connection) -> Result<i64, Fault> {
    let transaction = connection.transaction()?;
    transaction.execute("DELETE FROM secrets WHERE requested IS NOT NULL", [])?;
    transaction.execute(
        "INSERT OR IGNORE INTO unchecked SELECT number FROM integrations \
         JOIN secrets ON place = number << 16 WHERE health = 'active'",
        [],
    )?;
    transaction.execute(&format!("{NEW_MARK}, untold = 1"), [])?;
    let held: i64 = transaction.query_row("SELECT count(*) FROM unchecked", [], |row| row.get(0))?;
    transaction.commit()?;
    Ok(held)
}

/// Makes of a copy a database that is recognised wherever it is put back, also where nothing was changed since.
pub(super) fn mark_copy(copy: &Connection) -> rusqlite::Result<()> {
    copy.execute(NEW_MARK, []).map(drop)
}

/// Writes into the audit trail that the database was put back, where that is not done yet.
pub(super) fn tell(connection: &Connection, vault: &Vault, now: jiff::Timestamp) -> Result<(), Fault> {
    if connection.execute("UPDATE lineage SET untold = 0 WHERE untold <> 0", [])? == 0 {
        return Ok(());
    }
    let held: i64 = connection.query_row("SELECT count(*) FROM unchecked", [], |row| row.get(0))?;
    let event = AuditEvent {
        detail: format!("accounts that are checked with the provider before they are used: {held}"),
        ..AuditEvent::new(now, Actor::Daemon, "database.restored", Decision::Allowed)
    };
    audit_trail::lines::append(connection, vault, &[event])
}

/// The accounts that are still to be checked, in the order in which they lie in the file.
pub(super) fn unchecked(connection: &Connection) -> Result<Vec<IntegrationId>, Fault> {
    let select =
        "SELECT id FROM unchecked JOIN integrations ON number = unchecked.integration ORDER BY number";
    let mut statement = connection.prepare(select)?;
    let mut rows = statement.query([])?;
    let mut accounts = Vec::new();
    while let Some(row) = rows.next()? {
        // What else is wrong with an account is said where accounts are read.
        accounts.extend(column::parsed(row, "id").ok());
    }
    Ok(accounts)
}

/// The provider gave a token for the grant of this account.
pub(super) fn checked(connection: &Connection, number: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM unchecked WHERE integration = ?")?;
    statement.execute(params![number]).map(drop)
}

/// The note beside the database, held open.
pub(super) struct Note {
    file: File,
    path: PathBuf,
    noted: Option<Lineage>,
    fails: bool,
}

impl Note {
    /// Notes what the last commit made of the database. One that is lost costs a check of the accounts at most, so nobody
    /// waits for the disk.
    pub(super) fn follow(&mut self, connection: &Connection) {
        match self.write(connection) {
            Ok(()) => self.fails = false,
            Err(error) if !self.fails => {
                self.fails = true;
                let note = self.path.shown();
                tracing::warn!(%note, %error, "the database's mark could not be noted: after a restart its accounts are checked");
            }
            Err(_) => {}
        }
    }

    fn write(&mut self, connection: &Connection) -> io::Result<()> {
        let lineage = Lineage::of(connection).map_err(io::Error::other)?;
        if self.noted.as_ref() != Some(&lineage) {
            self.file.write_all_at(lineage.line().as_bytes(), 0)?;
            self.noted = Some(lineage);
        }
        Ok(())
    }
}
