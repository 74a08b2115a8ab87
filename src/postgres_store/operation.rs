//! What the thread that writes is asked to do, and the results.

use tokio::sync::oneshot;

use crate::{
    postgres::{
        fault::{at, is_of_connection},
        session::Session,
    },
    sql::{Fault, Sql},
    store::StoreError,
};

/// How an operation ended, before its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ran {
    /// It is to be committed.
    Well,
    /// It is to be undone, and its caller told why.
    Refused,
    /// The connection broke, and nothing is known to be wrong with it.
    CutOff,
}

/// An operation that waits for its commit.
pub(super) trait Operation: Send {
    /// Runs it, perhaps once more, and keeps the result.
    fn run(&mut self, session: &Session, shown: &str) -> Ran;

    /// Answers the caller: its result when the batch was committed, else what ended the batch.
    fn answer(self: Box<Self>, batch: Result<(), StoreError>);
}

/// An operation, and who waits for it.
pub(super) struct Pending<T, F> {
    work: F,
    result: Result<T, StoreError>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Pending<T, F> {
    /// To be run, and answered to `reply`.
    pub(super) fn new(work: F, reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self {
            work,
            result: Err(StoreError::Closed),
            reply,
        }
    }
}

impl<T, F> Operation for Pending<T, F>
where
    T: Send,
    F: FnMut(&dyn Sql) -> Result<T, Fault> + Send,
{
    fn run(&mut self, session: &Session, shown: &str) -> Ran {
        let (ran, result) = match (self.work)(session) {
            Ok(value) => (Ran::Well, Ok(value)),
            Err(fault) => {
                let ran = if is_of_connection(&fault) {
                    Ran::CutOff
                } else {
                    Ran::Refused
                };
                (ran, Err(at(fault, shown)))
            }
        };
        self.result = result;
        ran
    }

    fn answer(self: Box<Self>, batch: Result<(), StoreError>) {
        // A caller that went away is no concern of the others.
        let _ = self.reply.send(batch.and(self.result));
    }
}
