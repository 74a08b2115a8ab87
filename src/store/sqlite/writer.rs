//! The one thread that writes, with group commit.
//!
//! While one commit waits for the disk, the next operations gather; they then share one transaction and one
//! `fsync`. One that fails takes nothing from the others: the batch is then rolled back and run once more, each
//! operation in a savepoint of its own, and where that fails too, as on a full disk, each in a transaction of its
//! own, the audit trail last. Each is answered only after its commit.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rusqlite::{Connection, config::DbConfig};
use tokio::sync::{mpsc, oneshot};

use crate::store::StoreError;

use super::{
    connection::BUSY_TIMEOUT,
    fault::{Fault, reason, storage},
    folder::FolderLock,
    lineage::Note,
    place::Place,
    volume::{self, Room},
};

/// The most operations that share a commit.
const MAX_BATCH: usize = 256;
/// The most operations that wait; more senders wait with them, so that memory stays bounded.
const MAX_WAITING: usize = 1024;

/// How long operations are tried one by one on a disk that refuses a batch.
const PATIENCE: Duration = Duration::from_secs(2);

/// What an operation is worth when the disk does not take everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// Somebody waits for it, or a grant depends on it.
    Essential,
    /// It is written down for later: nothing that is essential waits for it or fails with it.
    Trail,
}

/// Hands operations to the thread.
pub(super) struct Writer {
    inbox: mpsc::Sender<Message>,
    thread: Option<JoinHandle<()>>,
    /// The last change could not be written.
    failing: Arc<AtomicBool>,
}

enum Message {
    Operation(Box<dyn Operation>),
    Close(oneshot::Sender<()>),
}

impl Writer {
    /// Starts the thread. It keeps `lock` until it has closed the connection.
    pub(super) fn start(connection: Connection, files: Files, lock: FolderLock) -> Result<Self, StoreError> {
        let (inbox, waiting) = mpsc::channel(MAX_WAITING);
        let failed = files.path.clone();
        let failing = Arc::new(AtomicBool::new(false));
        let committer = Committer {
            connection,
            files,
            failing: failing.clone(),
        };
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                let closers = committer.serve(waiting);
                drop(lock);
                for closer in closers {
                    let _ = closer.send(());
                }
            })
            .map_err(|error| storage(&failed, format!("the writer thread cannot be started: {error}")))?;
        Ok(Self {
            inbox,
            thread: Some(thread),
            failing,
        })
    }

    /// Whether changes can be written, by the thread that writes them: an empty transaction while the last one could be
    /// written, else a real one that changes nothing. Resolves when the thread comes round to it.
    pub(super) async fn prove(&self) -> Result<(), StoreError> {
        let failing = self.failing.load(Ordering::Acquire);
        self.run(Rank::Essential, move |connection| {
            if failing {
                let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
                connection.pragma_update(None, "user_version", version)?;
            }
            Ok(())
        })
        .await?;
        if failing {
            self.failing.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// Runs `work` in a transaction; resolves when that is on disk. Whoever stops waiting does not undo it. Where
    /// another operation fails, it is rolled back and run again.
    pub(super) async fn run<T, F>(&self, rank: Rank, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let operation = Box::new(Pending {
            rank,
            work,
            result: Err(StoreError::Closed),
            reply,
        });
        self.inbox
            .send(Message::Operation(operation))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Commits what waits, empties the write-ahead log into the database and lets go of the folder.
    pub(super) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.inbox.send(Message::Close(reply)).await.is_ok() {
            // An error means that the thread is gone already.
            let _ = closed.await;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Without senders the thread commits what waits, and ends.
        self.inbox = mpsc::channel(1).0;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer thread panicked");
        }
    }
}

/// An operation that waits for its commit.
trait Operation: Send {
    /// Runs it, perhaps once more, and keeps what came of it. Returns why when it failed and is to be undone.
    fn run(&mut self, connection: &Connection, path: &Path) -> Result<(), String>;

    /// Whether the disk or the file did not take it.
    fn is_unwritten(&self) -> bool;

    fn rank(&self) -> Rank;

    /// Answers the caller: what came of it when the batch was committed, else what ended the batch.
    fn answer(self: Box<Self>, batch: Result<(), StoreError>);
}

struct Pending<T, F> {
    rank: Rank,
    work: F,
    result: Result<T, StoreError>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Operation for Pending<T, F>
where
    T: Send,
    F: FnMut(&Connection) -> Result<T, Fault> + Send,
{
    fn run(&mut self, connection: &Connection, path: &Path) -> Result<(), String> {
        self.result = (self.work)(connection).map_err(|fault| fault.at(path));
        match &self.result {
            Ok(_) => Ok(()),
            Err(StoreError::Storage { reason, .. }) => Err(reason.clone()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn is_unwritten(&self) -> bool {
        matches!(self.result, Err(StoreError::Storage { .. }))
    }

    fn rank(&self) -> Rank {
        self.rank
    }

    fn answer(self: Box<Self>, batch: Result<(), StoreError>) {
        // A caller that went away is no concern of the others.
        let _ = self.reply.send(batch.and(self.result));
    }
}

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

/// The thread's side.
struct Committer {
    connection: Connection,
    files: Files,
    failing: Arc<AtomicBool>,
}

impl Committer {
    /// Commits until there is nobody left to send; returns who asked to hear of the end.
    fn serve(mut self, mut waiting: mpsc::Receiver<Message>) -> Vec<oneshot::Sender<()>> {
        let mut messages = Vec::with_capacity(MAX_BATCH);
        let mut closers = Vec::new();
        while waiting.blocking_recv_many(&mut messages, MAX_BATCH) > 0 {
            let mut batch = Vec::with_capacity(messages.len());
            for message in messages.drain(..) {
                match message {
                    Message::Operation(operation) => batch.push(operation),
                    Message::Close(closer) => {
                        // What is already in the queue is still served.
                        waiting.close();
                        closers.push(closer);
                    }
                }
            }
            self.commit(batch);
        }
        self.finish();
        closers
    }

    fn commit(&mut self, mut batch: Vec<Box<dyn Operation>>) {
        if batch.is_empty() {
            return;
        }
        if let Err(moved) = self.files.place.check() {
            return self.refuse(batch, &moved);
        }
        let mut tried = self.try_to_commit(&mut batch);
        if tried.is_err() && self.files.room.make(&self.connection) {
            tried = self.try_to_commit(&mut batch);
        }
        match tried {
            Ok(()) => {
                if batch.iter().any(|operation| operation.is_unwritten()) {
                    self.failing.store(true, Ordering::Release);
                }
                for operation in batch {
                    operation.answer(Ok(()));
                }
            }
            Err(reason) => self.commit_one_by_one(batch, reason),
        }
    }

    /// Refuses a batch: what would be written now, no later start would find.
    fn refuse(&self, batch: Vec<Box<dyn Operation>>, moved: &StoreError) {
        self.failing.store(true, Ordering::Release);
        for operation in batch {
            let reason = match moved {
                StoreError::Storage { path, reason } => storage(Path::new(path), reason.as_str()),
                other => storage(&self.files.path, other.to_string()),
            };
            operation.answer(Err(reason));
        }
    }

    /// Commits what the disk still takes, the essential first.
    fn commit_one_by_one(&mut self, mut batch: Vec<Box<dyn Operation>>, mut reason: String) {
        let began = Instant::now();
        let operations = batch.len();
        let mut failed = 0;
        batch.sort_by_key(|operation| operation.rank() == Rank::Trail);
        for operation in batch {
            let mut one = [operation];
            // A batch of one was tried already.
            let lost = if operations > 1 && began.elapsed() < PATIENCE {
                self.try_to_commit(&mut one).err()
            } else {
                Some(reason.clone())
            };
            let [operation] = one;
            operation.answer(match lost {
                None => Ok(()),
                Some(lost) => {
                    failed += 1;
                    let answer = Err(storage(&self.files.path, lost.as_str()));
                    reason = lost;
                    answer
                }
            });
        }
        if failed > 0 {
            self.failing.store(true, Ordering::Release);
            tracing::error!(database = %self.files.path.display(), operations, failed, "commit failed: {reason}");
        }
    }

    /// Runs and commits a batch; the reason when none of it was written, and then nothing of it is left.
    fn try_to_commit(&mut self, batch: &mut [Box<dyn Operation>]) -> Result<(), String> {
        let lost = self.attempt(batch);
        if lost.is_ok() {
            self.files.note.follow(&self.connection);
        }
        // The database may have rolled back by itself.
        if lost.is_err()
            && !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            tracing::error!(database = %self.files.path.display(), "rollback failed: {error}");
        }
        lost
    }

    /// Runs and commits a batch; the reason when none of it was written.
    fn attempt(&self, batch: &mut [Box<dyn Operation>]) -> Result<(), String> {
        self.execute("BEGIN IMMEDIATE")?;
        let failed = batch
            .iter_mut()
            .any(|operation| operation.run(&self.connection, &self.files.path).is_err());
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
    fn run_apart(&self, batch: &mut [Box<dyn Operation>]) -> Result<(), String> {
        for operation in batch {
            self.execute("SAVEPOINT operation")?;
            if let Err(failure) = operation.run(&self.connection, &self.files.path) {
                // A full disk can end the whole transaction, and with it what ran before.
                if self.connection.is_autocommit() {
                    return Err(failure);
                }
                self.execute("ROLLBACK TO operation")?;
            }
            self.execute("RELEASE operation")?;
        }
        Ok(())
    }

    fn execute(&self, sql: &str) -> Result<(), String> {
        let run = || self.connection.prepare_cached(sql)?.execute([]);
        run().map(drop).map_err(|error| reason(&self.files.path, &error))
    }

    /// Empties the write-ahead log, unless a reader is still at it: it is read again at the next start.
    fn finish(self) {
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
        match volume::empty_log(&self.connection, BUSY_TIMEOUT) {
            Ok(true) => {}
            Ok(false) => tracing::debug!("the write-ahead log stays: a reader is at it"),
            Err(error) => tracing::warn!("the write-ahead log stays: {}", reason(&self.files.path, &error)),
        }
    }
}
