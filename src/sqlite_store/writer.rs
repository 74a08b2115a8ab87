//! The one thread that writes, with group commit.
//!
//! While one commit waits for the disk, the next operations gather; they then share one transaction and one
//! `fsync`. One that fails takes nothing from the others: the batch is then rolled back and run once more, each
//! operation in a savepoint of its own, and where that fails too, as on a full disk, each in a transaction of its
//! own, by its rank. Each is answered only after its commit.
//!
//! What cannot wait has the reserve of a full disk to itself: while that is given away, all else is refused untried.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::{
    sql::Fault,
    sqlite::{
        fault::storage,
        folder::FolderLock,
        operation::{Operation, Pending, Rank},
    },
    sqlite_store::committer::{Committer, Files, change_nothing},
    store::{Failed, StorageFault, StoreError},
};

/// The most operations that share a commit.
const MAX_BATCH: usize = 256;
/// The most operations that wait; more senders wait with them, so that memory stays bounded.
const MAX_WAITING: usize = 1024;

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
        let committer = Committer::new(connection, files, failing.clone());
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                let closers = serve(committer, waiting);
                drop(lock);
                for closer in closers {
                    let _ = closer.send(());
                }
            })
            .map_err(|error| storage(&failed, StorageFault::system(Failed::StartWriter, &error)))?;
        Ok(Self {
            inbox,
            thread: Some(thread),
            failing,
        })
    }

    /// Whether changes of any kind can be written, by the thread that writes them: an empty transaction while the last one
    /// could be written, else a real one that changes nothing. Resolves when the thread comes round to it.
    pub(super) async fn prove(&self) -> Result<(), StoreError> {
        let failing = self.failing.load(Ordering::Acquire);
        self.run(Rank::Addition, move |connection| {
            if failing {
                change_nothing(connection)?;
            }
            Ok(())
        })
        .await?;
        if failing {
            self.failing.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// Runs `work` in a transaction; resolves when that is on disk. A caller that stops waiting does not undo it. Where
    /// another operation fails, it is rolled back and run again.
    pub(super) async fn run<T, F>(&self, rank: Rank, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let operation = Box::new(Pending::new(rank, work, reply));
        self.inbox
            .send(Message::Operation(operation))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Commits what waits, empties the write-ahead log into the database and releases the folder.
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

/// Commits until there is nobody left to send; returns who asked to hear of the end.
fn serve(mut committer: Committer, mut waiting: mpsc::Receiver<Message>) -> Vec<oneshot::Sender<()>> {
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
        committer.commit(batch);
    }
    committer.finish();
    closers
}
