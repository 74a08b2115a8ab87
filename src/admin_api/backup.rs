//! The database as a stream: the copy that `token-broker backup` writes where its caller may write.

use std::{
    fs::File,
    io::{self, Read},
    sync::Arc,
};

use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::status::{status, store};
use crate::{
    proto::v1::BackupDatabaseResponse,
    sqlite_store::{DatabaseCopy, SqliteStore},
    store::Store,
    telemetry::audit::AuditEvent,
};

/// How much a message carries.
const PIECE: usize = 64 * 1024;
/// Messages that wait for a slow reader.
const WAITING: usize = 4;

/// What is said where there is no file to be copied.
const ELSEWHERE: &str = "the records are in PostgreSQL: back the database up with its own tools, such as pg_dump or a base backup; \
                         the keyring is in it, and what wraps that is kept elsewhere, as before";

/// A copy of the database in pieces.
pub(super) type Pieces = ReceiverStream<Result<BackupDatabaseResponse, Status>>;

/// Makes copies of the database, one at a time: each takes as much room in the state folder as the database, for as long as
/// it is read.
pub(super) struct Backups {
    database: Option<Arc<SqliteStore>>,
    turn: Arc<Mutex<()>>,
}

impl Backups {
    pub(super) fn of(database: Option<Arc<SqliteStore>>) -> Self {
        Self {
            database,
            turn: Arc::default(),
        }
    }

    /// Copies the database, writes `event` into the audit trail, and returns the copy.
    pub(super) async fn begin(&self, event: AuditEvent) -> Result<Pieces, Status> {
        let Some(database) = &self.database else {
            return Err(status(Code::FailedPrecondition, "misconfigured", ELSEWHERE));
        };
        let Ok(turn) = self.turn.clone().try_lock_owned() else {
            let message = "another backup is under way: try again when it has ended";
            return Err(status(Code::ResourceExhausted, "rate_limited", message));
        };
        let copy = database.copy(None).await.map_err(|error| store(&error))?;
        let told = database.append_audit(vec![event]);
        told.await.map_err(|error| store(&error))?;
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::task::spawn_blocking(move || {
            let unread = |error: io::Error| {
                let message = format!("the copy of the database cannot be read: {error}");
                status(Code::Internal, "store", message)
            };
            // Whoever reads it may be gone.
            if let Err(error) = send(&copy, &sender) {
                let _ = sender.blocking_send(Err(unread(error)));
            }
            end(copy, turn);
        });
        Ok(ReceiverStream::new(receiver))
    }
}

fn send(
    copy: &DatabaseCopy,
    sender: &mpsc::Sender<Result<BackupDatabaseResponse, Status>>,
) -> io::Result<()> {
    let mut file = File::open(copy.path())?;
    let size = file.metadata()?.len();
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        let data = piece[..read].to_vec();
        if sender
            .blocking_send(Ok(BackupDatabaseResponse { data, size }))
            .is_err()
        {
            return Ok(());
        }
    }
}

/// The copy is gone before another is made.
fn end(copy: DatabaseCopy, turn: OwnedMutexGuard<()>) {
    drop(copy);
    drop(turn);
}
