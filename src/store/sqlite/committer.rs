//! Commits what the thread that writes was asked to, or says why not.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{Connection, config::DbConfig};

use crate::store::StoreError;

use super::{
    checkpoint::empty_log,
    fault::{reason, storage},
    lineage::Note,
    operation::{Lost, Operation, Rank},
    place::Place,
    volume::Room,
};

/// How long operations are tried one by one on a disk that refuses a batch.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is said of a change that the reserve is not for.
const KEPT_FOR_OTHERS: &str = "the disk is full: what is left of it is kept for renewals and deletions, so this change was not \
                               written, and everything before it is intact; free some space";

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
    failing: Arc<AtomicBool>,
}

impl Committer {
    /// Of a database that is open. What it sets `failing` to tells whether the last change could not be written.
    pub(super) fn new(connection: Connection, files: Files, failing: Arc<AtomicBool>) -> Self {
        Self {
            connection,
            files,
            failing,
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
        let mut batch = self.without_what_can_wait(batch);
        if batch.is_empty() {
            return;
        }
        let mut tried = self.try_to_commit(&mut batch);
        if tried.is_err() && self.files.room.make(&self.connection) {
            tried = self.try_to_commit(&mut batch);
        }
        let operations = batch.len();
        let lost: Vec<String> = match tried {
            Ok(()) => batch
                .into_iter()
                .filter_map(|operation| self.settle(operation, Ok(())))
                .collect(),
            Err(lost) => self.commit_one_by_one(batch, &lost),
        };
        if let Some(reason) = lost.last() {
            self.failing.store(true, Ordering::Release);
            let failed = lost.len();
            tracing::error!(database = %self.files.path.display(), operations, failed, "commit failed: {reason}");
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
        self.refuse(others, &storage(&self.files.path, KEPT_FOR_OTHERS));
        vital
    }

    /// Refuses a batch untried.
    fn refuse(&self, batch: Batch, why: &StoreError) {
        for operation in batch {
            self.failing.store(true, Ordering::Release);
            let reason = match why {
                StoreError::Storage { path, reason } => storage(Path::new(path), reason.as_str()),
                other => storage(&self.files.path, other.to_string()),
            };
            operation.answer(Err(reason));
        }
    }

    /// Commits what the disk still takes, what cannot wait first; returns why each of the others was lost.
    fn commit_one_by_one(&mut self, mut batch: Batch, lost: &Lost) -> Vec<String> {
        let began = Instant::now();
        let alone = batch.len() == 1;
        batch.sort_by_key(|operation| operation.rank());
        let mut reasons = Vec::new();
        for operation in batch {
            // A batch of one was tried already.
            if alone || began.elapsed() >= PATIENCE {
                reasons.extend(self.settle(operation, Err(lost.clone())));
                continue;
            }
            for operation in self.without_what_can_wait(vec![operation]) {
                let mut one = [operation];
                let tried = self.try_to_commit(&mut one);
                let [operation] = one;
                reasons.extend(self.settle(operation, tried));
            }
        }
        reasons
    }

    /// Answers for an operation whose commit was tried, and returns why it is lost, if it is. What cannot wait and found the
    /// disk full is tried once more, in the reserve.
    fn settle(&mut self, operation: Box<dyn Operation>, mut tried: Result<(), Lost>) -> Option<String> {
        let mut one = [operation];
        let full = why(&tried, &one).is_some_and(|lost| lost.is_of_full_disk);
        if full && one[0].rank() == Rank::Vital {
            // Also where it was given to another one a moment ago.
            self.files.room.give_reserve(&self.connection);
            tried = self.try_to_commit(&mut one);
        }
        let lost = why(&tried, &one).map(|lost| lost.reason.clone());
        let [operation] = one;
        operation.answer(tried.map_err(|lost| storage(&self.files.path, lost.reason)));
        lost
    }

    /// Runs and commits a batch; the reason when none of it was written, and then nothing of it is left.
    fn try_to_commit(&mut self, batch: &mut [Box<dyn Operation>]) -> Result<(), Lost> {
        let lost = self.attempt(batch);
        if lost.is_ok() {
            self.files.note.follow(&self.connection);
        }
        // The database may have rolled back by itself.
        if lost.is_err()
            && !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            tracing::error!(database = %self.files.path.display(), "rollback failed: {}", error.reason);
        }
        lost
    }

    /// Runs and commits a batch; the reason when none of it was written.
    fn attempt(&self, batch: &mut [Box<dyn Operation>]) -> Result<(), Lost> {
        self.execute("BEGIN IMMEDIATE")?;
        let failed = batch
            .iter_mut()
            .any(|operation| !operation.run(&self.connection, &self.files.path));
        if failed {
            // A full disk can end the whole transaction by itself.
            if !self.connection.is_autocommit() {
                self.execute("ROLLBACK")?;
            }
            self.execute("BEGIN IMMEDIATE")?;
            self.run_apart(batch)?;
        }
        self.execute("COMMIT")
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
        let run = || self.connection.prepare_cached(sql)?.execute([]);
        run()
            .map(drop)
            .map_err(|error| Lost::by(&error, &self.files.path))
    }

    /// Empties the write-ahead log, unless a reader is still at it: it is read again at the next start.
    pub(super) fn finish(self) {
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
        match empty_log(&self.connection) {
            Ok(true) => {}
            Ok(false) => tracing::debug!("the write-ahead log stays: a reader is at it"),
            Err(error) => tracing::warn!("the write-ahead log stays: {}", reason(&self.files.path, &error)),
        }
    }
}

/// Why the disk or the file did not take an operation, if that is so, after its commit was tried.
fn why<'a>(tried: &'a Result<(), Lost>, one: &'a [Box<dyn Operation>; 1]) -> Option<&'a Lost> {
    match tried {
        Err(lost) => Some(lost),
        Ok(()) => one[0].lost(),
    }
}
