//! Connections that only read, each on a blocking thread, so that no reader waits for a commit.
//!
//! A read sees everything that was answered before it began, as it was at one moment.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    config::StoreSection,
    postgres::{
        fault::{at, is_of_connection},
        session::Session,
    },
    sql::{Fault, Sql},
    store::StoreError,
};

/// How many read at the same time: one long verification must not hold up the rest.
const MAX_READERS: usize = 3;
/// How many connections are kept open in between.
const MAX_IDLE: usize = 1;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A few connections, opened when they are needed.
pub(super) struct Readers {
    permits: Arc<Semaphore>,
    shared: Arc<Shared>,
}

struct Shared {
    section: Arc<StoreSection>,
    idle: Mutex<Vec<Session>>,
}

impl Readers {
    pub(super) fn new(section: Arc<StoreSection>) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(MAX_READERS)),
            shared: Arc::new(Shared {
                section,
                idle: Mutex::default(),
            }),
        }
    }

    /// Runs `work` in a read transaction.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql) -> Result<T, Fault> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Closed)?;
        let shared = Arc::clone(&self.shared);
        let reading = spawn_blocking(move || {
            let result = shared
                .read(work)
                .map_err(|fault| at(fault, &shared.section.shown));
            drop(permit);
            result
        });
        // A join error means that the runtime is shutting down.
        reading.await.map_err(|_| StoreError::Closed)?
    }

    /// Waits for the reads under way, refuses new ones, and closes the connections.
    pub(super) async fn close(&self) {
        let all = u32::try_from(MAX_READERS).unwrap_or(u32::MAX);
        let _permits = self.permits.acquire_many(all).await;
        self.permits.close();
        let idle = std::mem::take(&mut *self.shared.idle());
        let closing = spawn_blocking(move || idle.into_iter().for_each(Session::close));
        let _ = closing.await;
    }
}

impl Shared {
    fn read<T>(&self, work: impl FnOnce(&dyn Sql) -> Result<T, Fault>) -> Result<T, Fault> {
        let session = self.begun()?;
        let result = work(&session);
        if session.run("COMMIT").is_ok() {
            let mut idle = self.idle();
            if idle.len() < MAX_IDLE {
                idle.push(session);
            }
        }
        result
    }

    /// A session in a transaction. Whether one from before is still of use is seen when it is used.
    fn begun(&self) -> Result<Session, Fault> {
        let idle = self.idle().pop().filter(|session| !session.is_closed());
        if let Some(session) = idle {
            match session.begin(BEGIN, &self.section.broker) {
                Ok(()) => return Ok(session),
                Err(fault) if is_of_connection(&fault) => {}
                Err(fault) => return Err(fault),
            }
        }
        let session = Session::open(&self.section)?;
        session.begin(BEGIN, &self.section.broker)?;
        Ok(session)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
