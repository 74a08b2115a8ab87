//! The one thread that writes, with group commit.
//!
//! While one transaction is under way, the next operations gather; they then share one. One that is refused takes nothing from the
//! others: the batch is rolled back and run once more, each operation in a savepoint of its own. Each is answered only after its
//! commit.
//!
//! **A commit whose answer never came** may be done or not. Each transaction writes its number into the broker's own row. So who
//! writes that row afterwards waits until the transaction has come to its end, wherever it is, and finds its number there or not:
//! then it is accepted, or repeated. That write is synchronous, so that what it finds is on a standby as well.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

use crate::{
    config::StoreSection,
    postgres::{
        fault::{self, ServerFault, is_of_connection, is_unknown, storage},
        session::Session,
    },
    postgres_store::{
        brokers::{self, Me},
        operation::{Operation, Pending, Ran},
    },
    sql::{Fault, Sql},
    store::{DatabaseFault, Failed, StorageFault, StoreError},
};

/// The most operations that share a commit.
const MAX_BATCH: usize = 256;
/// The most operations that wait; more senders wait with them, so that memory stays bounded.
const MAX_WAITING: usize = 1024;
/// How often the broker says that it is there, where it writes nothing else.
const BEAT: Duration = Duration::from_secs(10);
/// How long is looked for the end of a commit whose answer never came.
const LOOK: Duration = Duration::from_secs(15);
/// How long is waited between two attempts of that.
const PAUSE: Duration = Duration::from_millis(250);

/// Hands operations to the thread.
pub(super) struct Writer {
    inbox: mpsc::Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Operation(Box<dyn Operation>),
    Close(oneshot::Sender<()>),
}

impl Writer {
    /// Starts the thread, on a session of a broker that has its name, and whose last transaction has this number.
    pub(super) fn start(
        session: Session,
        section: Arc<StoreSection>,
        me: Me,
        batch: i64,
    ) -> Result<Self, StoreError> {
        let (inbox, waiting) = mpsc::channel(MAX_WAITING);
        let shown = me.shown.clone();
        let failed =
            |error: std::io::Error| storage(&shown, StorageFault::system(Failed::StartWriter, &error));
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(failed)?;
        let committer = Committer {
            session: Some(session),
            section,
            me,
            batch,
            runtime,
            is_away: false,
        };
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || serve(committer, waiting))
            .map_err(failed)?;
        Ok(Self {
            inbox,
            thread: Some(thread),
        })
    }

    /// Runs `work` in a transaction; resolves when that is committed. A caller that stops waiting does not undo it. It may be run
    /// again.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&dyn Sql) -> Result<T, Fault> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let operation = Box::new(Pending::new(work, reply));
        self.inbox
            .send(Message::Operation(operation))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Commits what waits, and ends.
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

/// Commits until there is nobody left to send.
fn serve(mut committer: Committer, mut waiting: mpsc::Receiver<Message>) {
    let mut messages = Vec::with_capacity(MAX_BATCH);
    let mut closers: Vec<oneshot::Sender<()>> = Vec::new();
    loop {
        let receiving = async { timeout(BEAT, waiting.recv_many(&mut messages, MAX_BATCH)).await };
        if let Ok(0) = committer.runtime.block_on(receiving) {
            break;
        }
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
    for closer in closers {
        let _ = closer.send(());
    }
}

struct Committer {
    session: Option<Session>,
    section: Arc<StoreSection>,
    me: Me,
    /// The number of the last transaction that was begun.
    batch: i64,
    /// For what is waited for without the database.
    runtime: Runtime,
    /// The database was not reached last time.
    is_away: bool,
}

/// Why a batch was not committed.
enum Ended {
    /// An operation of it is to be refused, and the others are not.
    Refused,
    /// Before the database was told to commit it, or by the database's own word.
    Undone(Fault),
    /// It may be.
    Unknown(Fault),
}

impl Committer {
    fn commit(&mut self, mut batch: Vec<Box<dyn Operation>>) {
        let ended = self.commit_all(&mut batch);
        self.tell(&ended);
        for operation in batch {
            operation.answer(ended.clone());
        }
    }

    fn commit_all(&mut self, batch: &mut [Box<dyn Operation>]) -> Result<(), StoreError> {
        let mut one_by_one = false;
        loop {
            let was_open = self.session.is_some();
            match self.try_all(batch, one_by_one) {
                Ok(()) => return Ok(()),
                Err(Ended::Refused) => one_by_one = true,
                // A connection that was of no use any more is not known to be so before it is used.
                Err(Ended::Undone(fault)) if is_of_connection(&fault) && was_open => self.session = None,
                Err(Ended::Undone(fault)) => {
                    self.session = None;
                    return Err(fault::at(fault, &self.me.shown));
                }
                Err(Ended::Unknown(fault)) => {
                    tracing::warn!(
                        error = %fault::at(fault, &self.me.shown),
                        "the database did not answer a commit: whether it is done is looked for"
                    );
                    match self.is_committed() {
                        Ok(true) => return Ok(()),
                        Ok(false) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }

    /// Runs the batch in a transaction, and commits it.
    fn try_all(&mut self, batch: &mut [Box<dyn Operation>], one_by_one: bool) -> Result<(), Ended> {
        let session = match self.session.take() {
            Some(session) => session,
            None => Session::open(&self.section).map_err(Ended::Undone)?,
        };
        self.batch += 1;
        let begin = || {
            session.begin("BEGIN", &self.me.name)?;
            brokers::number(&session, &self.me, self.batch)
        };
        let ran = begin()
            .map_err(Ended::Undone)
            .and_then(|()| run_all(&session, &self.me.shown, batch, one_by_one));
        if let Err(ended) = ran {
            // What does not come back is of no use any more.
            if session.run("ROLLBACK").is_ok() {
                self.session = Some(session);
            }
            return Err(ended);
        }
        let committed = session.run("COMMIT");
        match committed {
            Ok(()) => {
                self.session = Some(session);
                Ok(())
            }
            Err(fault) if is_unknown(&fault) => Err(Ended::Unknown(fault)),
            Err(fault) => Err(Ended::Undone(fault)),
        }
    }

    /// Whether the transaction that was begun last is committed. Waits for its end, and for the database to come back.
    fn is_committed(&mut self) -> Result<bool, StoreError> {
        let begun = Instant::now();
        loop {
            let found = Session::open(&self.section).and_then(|session| {
                let committed = brokers::committed(&session, &self.me)?;
                self.session = Some(session);
                Ok(committed)
            });
            match found {
                Ok(committed) => return Ok(committed >= self.batch),
                Err(fault) if is_of_connection(&fault) && begun.elapsed() < LOOK => {
                    self.runtime.block_on(sleep(PAUSE));
                }
                Err(fault) => {
                    let said = fault::at(fault, &self.me.shown).to_string();
                    return Err(storage(&self.me.shown, DatabaseFault::CommitUnknown(said)));
                }
            }
        }
    }

    /// Says once that the database is away, and once that it is back.
    fn tell(&mut self, ended: &Result<(), StoreError>) {
        let was_away = std::mem::replace(&mut self.is_away, ended.is_err());
        match ended {
            Err(error) if !was_away => tracing::warn!(%error, "nothing is written at the moment"),
            Ok(()) if was_away => tracing::info!("the database takes changes again"),
            _ => {}
        }
    }

    fn finish(mut self) {
        if let Some(session) = self.session.take() {
            // Who does not hear of it waits half a minute.
            let _ = brokers::leave(&session, &self.me);
            session.close();
        }
    }
}

fn run_all(
    session: &Session,
    shown: &str,
    batch: &mut [Box<dyn Operation>],
    one_by_one: bool,
) -> Result<(), Ended> {
    let is_alone = batch.len() == 1;
    for operation in batch {
        if one_by_one {
            session.run("SAVEPOINT one").map_err(Ended::Undone)?;
        }
        match operation.run(session, shown) {
            Ran::Well => {}
            Ran::CutOff => return Err(Ended::Undone(ServerFault::CutOff.into())),
            Ran::Refused if one_by_one => session.run("ROLLBACK TO SAVEPOINT one").map_err(Ended::Undone)?,
            Ran::Refused if is_alone => {
                // There is nothing else to be committed, and it has its answer.
                return session.run("ROLLBACK; BEGIN").map_err(Ended::Undone);
            }
            Ran::Refused => return Err(Ended::Refused),
        }
    }
    Ok(())
}
