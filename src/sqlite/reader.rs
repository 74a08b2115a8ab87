//! Connections that only read, each on a blocking thread, so that no reader waits for a commit.
//!
//! A read sees everything that was answered before it began.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::Connection;
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    sql::Fault,
    sqlite::{connection, fault::FileFault, place::Place},
    store::StoreError,
};

/// How many read at the same time: one long verification must not hold up the rest.
const MAX_READERS: usize = 4;
/// How many connections are kept open in between.
const MAX_IDLE: usize = 1;

/// A few connections, opened when they are needed.
pub(crate) struct Readers {
    permits: Arc<Semaphore>,
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    place: Arc<Place>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(path: PathBuf, place: Arc<Place>) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(MAX_READERS)),
            shared: Arc::new(Shared {
                path,
                place,
                idle: Mutex::default(),
            }),
        }
    }

    /// Runs `work` in a read transaction.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Closed)?;
        let shared = Arc::clone(&self.shared);
        let reading = spawn_blocking(move || {
            let result = shared.read(work);
            drop(permit);
            result
        });
        // A join error means that the runtime is shutting down.
        reading.await.map_err(|_| StoreError::Closed)?
    }

    /// Waits for the reads under way, refuses new ones, and closes the connections.
    pub(crate) async fn close(&self) {
        let all = u32::try_from(MAX_READERS).unwrap_or(u32::MAX);
        let _permits = self.permits.acquire_many(all).await;
        self.permits.close();
        self.shared.idle().clear();
    }
}

impl Shared {
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, StoreError> {
        let idle = self.idle().pop();
        let mut connection = if let Some(connection) = idle {
            connection
        } else {
            // By its path another database may be found.
            self.place.check()?;
            connection::open_reader(&self.path)?
        };
        let result = connection
            .transaction()
            .map_err(Fault::from)
            .and_then(|transaction| work(&transaction))
            .map_err(|fault| fault.at(&self.path))?;
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        Ok(result)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
