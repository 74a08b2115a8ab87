//! What `PostgreSQL` said, and what it means.

use std::error::Error as _;

use tokio_postgres::{Error, error::SqlState};

use crate::{
    config::ConfigError,
    sql::Fault,
    store::{DatabaseFault, StorageFault, StoreError},
};

/// Why the server was not reached, or did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerFault {
    /// What the server, or the library that speaks to it, said.
    #[error(transparent)]
    Said(#[from] Error),
    /// A file that is needed to reach it.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// It did not answer in time.
    #[error("it did not answer within {0} s")]
    Silent(u64),
    /// The connection broke on the way.
    #[error("the connection broke")]
    CutOff,
    /// The runtime that speaks to it cannot be had.
    #[error("{0}")]
    System(std::io::Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        ServerFault::from(error).into()
    }
}

impl From<ServerFault> for Fault {
    fn from(fault: ServerFault) -> Self {
        Self::Database(Box::new(fault))
    }
}

/// The error for the caller of the store whose database is `shown` so.
pub(crate) fn at(fault: Fault, shown: &str) -> StoreError {
    match fault {
        Fault::Store(error) => error,
        Fault::Database(error) => storage(
            shown,
            match error.downcast_ref() {
                Some(fault) => judge(fault),
                None => DatabaseFault::Refused(error.to_string()),
            },
        ),
    }
}

/// An error of the database.
pub(crate) fn storage(shown: &str, fault: impl Into<StorageFault>) -> StoreError {
    StoreError::Storage {
        path: shown.to_owned(),
        fault: fault.into(),
    }
}

/// Whether the connection is of no use any more, so that another one may do it.
pub(crate) fn is_of_connection(fault: &Fault) -> bool {
    let Fault::Database(error) = fault else {
        return false;
    };
    error.downcast_ref().is_some_and(|fault| {
        matches!(
            judge(fault),
            DatabaseFault::Away(_) | DatabaseFault::NotPrimary(_)
        )
    })
}

/// What the server said of a commit leaves open whether it is done.
pub(crate) fn is_unknown(fault: &Fault) -> bool {
    let Fault::Database(error) = fault else {
        return false;
    };
    match error.downcast_ref() {
        Some(ServerFault::Said(error)) => match error.code() {
            // It was rolled back, and the server says why; but for what ends the connection.
            Some(code) => is_away(code),
            None => true,
        },
        _ => true,
    }
}

fn is_away(code: &SqlState) -> bool {
    let code = code.code();
    ["08", "57P", "53300", "40003"]
        .iter()
        .any(|class| code.starts_with(class))
}

fn judge(fault: &ServerFault) -> DatabaseFault {
    let ServerFault::Said(error) = fault else {
        return match fault {
            ServerFault::File(error) => DatabaseFault::NotLetIn(error.to_string()),
            other => DatabaseFault::Away(other.to_string()),
        };
    };
    let said = said(error);
    let Some(code) = error.code() else {
        return DatabaseFault::Away(said);
    };
    match code.code() {
        "53100" => DatabaseFault::DiskFull(said),
        "25006" => DatabaseFault::NotPrimary(said),
        "42501" | "3D000" => DatabaseFault::NotLetIn(said),
        code if code.starts_with("28") => DatabaseFault::NotLetIn(said),
        code if code.starts_with("58") => DatabaseFault::DiskFailed(said),
        code if code.starts_with("XX") => DatabaseFault::Refused(said),
        _ if is_away(code) => DatabaseFault::Away(said),
        _ => DatabaseFault::Refused(said),
    }
}

/// All that is known of an error, without the library's words around it.
fn said(error: &Error) -> String {
    if let Some(database) = error.as_db_error() {
        return format!("{}: {}", database.severity(), database.message());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        if !text.contains(&inner.to_string()) {
            text = format!("{text}: {inner}");
        }
        source = inner.source();
    }
    text
}
