//! Commits what the thread that writes was asked to, or says why not.
//!
//! A commit can fail when all of it was written: where the disk does not confirm it, the write-ahead log has it, with its mark,
//! and the next start would find done what was said to have failed. So it is written over before anybody is answered, by a
//! transaction that changes nothing and is confirmed. Each frame of the log is valid only after the one before it, so the
//! first that is written over takes the others with it. While that fails, what was asked is said to be not known, and nothing
//! else is written.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, Error, config::DbConfig};

use crate::{
    sqlite::{
        checkpoint::empty_log,
        fault::{judge, storage},
        objects::Guard,
        operation::{Lost, Operation, Rank},
        place::Place,
        volume::Room,
    },
    sqlite_store::lineage::Note,
    store::{DatabaseFault, StorageFault, StoreError},
    text::ShowPath,
};

/// How long operations are tried one by one on a disk that refuses a batch.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a commit that was not confirmed is tried to be written over before who waits hears that it is not known.
const UNTIL_UNKNOWN: Duration = Duration::from_secs(2);
/// How long between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Operations that share a commit.
type Batch = Vec<Box<dyn Operation>>;

/// The files that the thread writes.
pub(super) struct Files {
    /// The database.
    pub(super) path: PathBuf,
    /// Where it was found.
    pub(super) place: Arc<Place>,
    /// What it may take beside itself.
    pub(super) room: Room,
    /// What is noted of it beside it, kept in step.
    pub(super) note: Note,
}

/// What has the connection.
pub(super) struct Committer {
    connection: Connection,
    files: Files,
    schema: Guard,
    failing: Arc<AtomicBool>,
    /// The write-ahead log may hold a commit that failed.
    in_doubt: bool,
}

impl Committer {
    /// Of a database that is open. What it sets `failing` to tells whether the last change could not be written.
    pub(super) fn new(connection: Connection, files: Files, failing: Arc<AtomicBool>) -> Self {
        Self {
            connection,
            files,
            schema: Guard::default(),
            failing,
            in_doubt: false,
        }
    }

    /// Commits a batch and answers for each of its operations.
    pub(super) fn commit(&mut self, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        if let Err(moved) = self.files.place.check() {
            return self.refuse(batch, &moved);
        }
        if let Err(lost) = self.end_doubt() {
            return self.refuse(batch, &storage(&self.files.path, lost.fault));
        }
        let mut batch = self.without_what_can_wait(batch);
        if batch.is_empty() {
            return;
        }
        let mut tried = self.try_to_commit(&mut batch);
        if tried.is_err() && self.files.room.make(&self.connection) {
            tried = self.try_to_commit(&mut batch);
        }
        let operations = batch.len();
        let lost: Vec<StorageFault> = match tried {
            Ok(()) => batch
                .into_iter()
                .filter_map(|operation| self.settle(operation, Ok(())))
                .collect(),
            Err(lost) => self.commit_one_by_one(batch, &lost),
        };
        if let Some(fault) = lost.last() {
            self.failing.store(true, Ordering::Release);
            let failed = lost.len();
            tracing::error!(database = %self.files.path.shown(), operations, failed, "commit failed: {fault}");
        }
    }

    /// While the reserve is given away, answers for all that it is not for; returns the others.
    fn without_what_can_wait(&mut self, batch: Batch) -> Batch {
        if !self.files.room.is_short(&self.connection) {
            return batch;
        }
        let (vital, others): (Batch, Batch) = batch
            .into_iter()
            .partition(|operation| operation.rank() == Rank::Vital);
        self.refuse(others, &storage(&self.files.path, DatabaseFault::KeptForOthers));
        vital
    }

    /// Refuses a batch untried.
    fn refuse(&self, batch: Batch, why: &StoreError) {
        for operation in batch {
            self.failing.store(true, Ordering::Release);
            operation.answer(Err(why.clone()));
        }
    }

    /// Commits what the disk still takes, what cannot wait first; returns why each of the others was lost.
    fn commit_one_by_one(&mut self, mut batch: Batch, lost: &Lost) -> Vec<StorageFault> {
        let began = Instant::now();
        let alone = batch.len() == 1;
        batch.sort_by_key(|operation| operation.rank());
        let mut faults = Vec::new();
        for operation in batch {
            // A batch of one was tried already.
            if alone || self.in_doubt || began.elapsed() >= PATIENCE {
                faults.extend(self.settle(operation, Err(lost.clone())));
                continue;
            }
            for operation in self.without_what_can_wait(vec![operation]) {
                let mut one = [operation];
                let tried = self.try_to_commit(&mut one);
                let [operation] = one;
                faults.extend(self.settle(operation, tried));
            }
        }
        faults
    }

    /// Answers for an operation whose commit was tried, and returns why it is lost, if it is. What cannot wait and found the
    /// disk full is tried once more, in the reserve.
    fn settle(&mut self, operation: Box<dyn Operation>, mut tried: Result<(), Lost>) -> Option<StorageFault> {
        let mut one = [operation];
        let full = why(&tried, &one).is_some_and(|lost| lost.is_of_full_disk);
        if full && one[0].rank() == Rank::Vital {
            // Also where it was given to another one a moment ago.
            self.files.room.give_reserve(&self.connection);
            tried = self.try_to_commit(&mut one);
        }
        let lost = why(&tried, &one).map(|lost| lost.said(self.in_doubt));
        let [operation] = one;
        operation.answer(tried.map_err(|lost| storage(&self.files.path, lost.said(self.in_doubt))));
        lost
    }

    /// Runs and commits a batch; the reason when none of it was written, and then nothing of it is left, unless that is in
    /// doubt.
    fn try_to_commit(&mut self, batch: &mut [Box<dyn Operation>]) -> Result<(), Lost> {
        self.end_doubt()?;
        let lost = self.attempt(batch);
        if lost.is_ok() {
            self.files.note.follow(&self.connection);
        }
        // The database may have rolled back by itself.
        if lost.is_err()
            && !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            tracing::error!(database = %self.files.path.shown(), "rollback failed: {}", error.fault);
        }
        if lost.as_ref().is_err_and(|lost| lost.unconfirmed.is_some()) {
            self.take_back();
        }
        lost
    }

    /// Writes over what is left of a commit that was not confirmed. It is in doubt afterwards where the disk goes on refusing.
    fn take_back(&mut self) {
        self.in_doubt = true;
        let began = Instant::now();
        while self.end_doubt().is_err() && began.elapsed() < UNTIL_UNKNOWN {
            thread::sleep(PAUSE);
        }
    }

    /// Writes over what the log may hold of a commit that failed, if that is in doubt.
    fn end_doubt(&mut self) -> Result<(), Lost> {
        if !self.in_doubt {
            return Ok(());
        }
        if let Err(error) = change_nothing(&self.connection) {
            let lost = Lost::by(&error, &self.files.path);
            return Err(Lost {
                fault: DatabaseFault::NothingUntilConfirmed(error.to_string()).into(),
                ..lost
            });
        }
        self.in_doubt = false;
        tracing::warn!(
            database = %self.files.path.shown(),
            "what the disk had not confirmed was taken back: none of it will be found done"
        );
        Ok(())
    }

    /// Runs and commits a batch; the reason when none of it was written.
    fn attempt(&mut self, batch: &mut [Box<dyn Operation>]) -> Result<(), Lost> {
        self.begin()?;
        let failed = batch
            .iter_mut()
            .any(|operation| !operation.run(&self.connection, &self.files.path));
        if failed {
            // A full disk can end the whole transaction by itself.
            if !self.connection.is_autocommit() {
                self.execute("ROLLBACK")?;
            }
            self.begin()?;
            self.run_apart(batch)?;
        }
        self.execute_or("COMMIT", Lost::by_commit)?;
        self.schema.committed();
        Ok(())
    }

    /// Begins a transaction, in which the schema is this program's.
    fn begin(&mut self) -> Result<(), Lost> {
        self.execute("BEGIN IMMEDIATE")?;
        let kept = self.schema.begin(&self.connection);
        kept.map_err(|error| Lost::by(&error, &self.files.path))
    }

    /// Runs a batch so that an operation that fails is undone alone. Savepoints cost copies of the pages that
    /// change, so this is for the batch in which one has failed.
    fn run_apart(&self, batch: &mut [Box<dyn Operation>]) -> Result<(), Lost> {
        for operation in batch {
            self.execute("SAVEPOINT operation")?;
            if !operation.run(&self.connection, &self.files.path) {
                // A full disk can end the whole transaction, and with it what ran before.
                if self.connection.is_autocommit() {
                    return Err(operation.lost().cloned().unwrap_or_else(Lost::with_transaction));
                }
                self.execute("ROLLBACK TO operation")?;
            }
            self.execute("RELEASE operation")?;
        }
        Ok(())
    }

    fn execute(&self, sql: &str) -> Result<(), Lost> {
        self.execute_or(sql, Lost::by)
    }

    fn execute_or(&self, sql: &str, lost: fn(&Error, &Path) -> Lost) -> Result<(), Lost> {
        let run = || self.connection.prepare_cached(sql)?.execute([]);
        run().map(drop).map_err(|error| lost(&error, &self.files.path))
    }

    /// Empties the write-ahead log, unless a reader is still at it: it is read again at the next start.
    pub(super) fn finish(mut self) {
        if let Err(moved) = self.files.place.check() {
            // By their names, other files may be found than those that are open: they are left alone.
            let keep = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            let kept = self.connection.set_db_config(keep, true);
            tracing::error!("the write-ahead log stays: {moved}");
            if let Err(error) = kept {
                tracing::error!(%error, "the database is closed as if it were where it was");
            }
            return;
        }
        if let Err(lost) = self.end_doubt() {
            tracing::error!(
                "a change that failed may be found done at the next start: {}",
                lost.fault
            );
        }
        match empty_log(&self.connection) {
            Ok(true) => {}
            Ok(false) => tracing::debug!("the write-ahead log stays: a reader is at it"),
            Err(error) => tracing::warn!("the write-ahead log stays: {}", judge(&self.files.path, &error)),
        }
    }
}

/// Writes a page as it is: outside of a transaction, commits that, and has the disk confirm it.
pub(super) fn change_nothing(connection: &Connection) -> rusqlite::Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    connection.pragma_update(None, "user_version", version)
}

/// Why the disk or the file did not take an operation, if that is so, after its commit was tried.
fn why<'a>(tried: &'a Result<(), Lost>, one: &'a [Box<dyn Operation>; 1]) -> Option<&'a Lost> {
    match tried {
        Err(lost) => Some(lost),
        Ok(()) => one[0].lost(),
    }
}
