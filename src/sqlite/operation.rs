//! What the thread that writes is asked to do, and the results.

use std::path::Path;

use rusqlite::{Connection, Error};
use tokio::sync::oneshot;

use crate::{
    sql::Fault,
    sqlite::fault::{FileFault, is_of_full_disk, judge, may_be_in_log, taken_back, unconfirmed},
    store::{DatabaseFault, StorageFault, StoreError},
};

/// What an operation is worth when the disk does not take everything: the first go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// A grant depends on it, it takes something from somebody, or it makes room: it may use up the reserve.
    Vital,
    /// It adds something, and somebody waits to hear that it is there.
    Addition,
    /// It is written down for later: nothing else waits for it or fails with it.
    Trail,
}

/// Why something was not written.
#[derive(Debug, Clone)]
pub(crate) struct Lost {
    pub(crate) fault: StorageFault,
    /// More room on the disk would have helped.
    pub(crate) is_of_full_disk: bool,
    /// What is true in place of the reason while the write-ahead log may hold it all the same.
    pub(crate) unconfirmed: Option<DatabaseFault>,
}

impl Lost {
    /// By what the database at `path` said.
    pub(crate) fn by(error: &Error, path: &Path) -> Self {
        Self {
            fault: judge(path, error).into(),
            is_of_full_disk: is_of_full_disk(error),
            unconfirmed: None,
        }
    }

    /// By what the database at `path` said of the commit itself.
    pub(crate) fn by_commit(error: &Error, path: &Path) -> Self {
        if !may_be_in_log(error) {
            return Self::by(error, path);
        }
        Self {
            fault: taken_back(path, error).into(),
            is_of_full_disk: is_of_full_disk(error),
            unconfirmed: Some(unconfirmed(error)),
        }
    }

    /// Why it was lost, to be told to who waits for it. `in_doubt`: the log may still hold a commit that failed.
    pub(crate) fn said(&self, in_doubt: bool) -> StorageFault {
        let unconfirmed = self.unconfirmed.clone().filter(|_| in_doubt);
        unconfirmed.map_or_else(|| self.fault.clone(), StorageFault::from)
    }

    /// With a transaction that the database ended.
    pub(crate) fn with_transaction() -> Self {
        Self {
            fault: DatabaseFault::TransactionEnded.into(),
            is_of_full_disk: false,
            unconfirmed: None,
        }
    }
}

/// An operation that waits for its commit.
pub(crate) trait Operation: Send {
    /// Runs it, perhaps once more, and keeps the result. False when it failed and is to be undone.
    fn run(&mut self, connection: &Connection, path: &Path) -> bool;

    /// Why the disk or the file did not take it when it ran last, if that is so.
    fn lost(&self) -> Option<&Lost>;

    fn rank(&self) -> Rank;

    /// Answers the caller: its result when the batch was committed, else what ended the batch.
    fn answer(self: Box<Self>, batch: Result<(), StoreError>);
}

/// An operation, and who waits for it.
pub(crate) struct Pending<T, F> {
    rank: Rank,
    work: F,
    result: Result<T, StoreError>,
    lost: Option<Lost>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Pending<T, F> {
    /// To be run, and answered to `reply`.
    pub(crate) fn new(rank: Rank, work: F, reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self {
            rank,
            work,
            result: Err(StoreError::Closed),
            lost: None,
            reply,
        }
    }
}

impl<T, F> Operation for Pending<T, F>
where
    T: Send,
    F: FnMut(&Connection) -> Result<T, Fault> + Send,
{
    fn run(&mut self, connection: &Connection, path: &Path) -> bool {
        self.lost = None;
        self.result = (self.work)(connection).map_err(|fault| {
            let is_of_full_disk = fault.is_of_full_disk();
            let error = fault.at(path);
            if let StoreError::Storage { fault, .. } = &error {
                self.lost = Some(Lost {
                    fault: fault.clone(),
                    is_of_full_disk,
                    unconfirmed: None,
                });
            }
            error
        });
        self.result.is_ok()
    }

    fn lost(&self) -> Option<&Lost> {
        self.lost.as_ref()
    }

    fn rank(&self) -> Rank {
        self.rank
    }

    fn answer(self: Box<Self>, batch: Result<(), StoreError>) {
        // A caller that went away is no concern of the others.
        let _ = self.reply.send(batch.and(self.result));
    }
}
