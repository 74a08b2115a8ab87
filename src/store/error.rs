//! Why a store did not do what it was asked to.

use crate::{
    store::{
        keyring_fault::KeyringFault,
        record_fault::{AlteredRemedy, RecordFault},
        storage_fault::StorageFault,
    },
    vault::{KeyId, MacError},
};

/// Why the store did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The record changed or went away since it was read; nothing was written.
    #[error("the record changed meanwhile")]
    Conflict,
    /// Another daemon has this state directory open.
    #[error(
        "another token-broker is running on the state directory {0}: stop it, or give this one its own state_dir"
    )]
    Locked(String),
    /// Another broker is at the database.
    #[error(
        "another broker, {broker}, is at {path}: one is at a database at a time; stop that one, or give this one a database of \
         its own"
    )]
    Taken {
        /// Where it is.
        path: String,
        /// The other one's name.
        broker: String,
    },
    /// Another process has taken this broker's name.
    #[error(
        "another token-broker has begun to write {path} under this one's name, {broker}: give each a cluster.name of its own, \
         and start this one again"
    )]
    Replaced {
        /// Where it is.
        path: String,
        /// The name.
        broker: String,
    },
    /// The database was written by a newer version.
    #[error(
        "the database {path} has schema version {found}, this program knows up to {known}: \
         install the newer version again, or restore a backup made before the upgrade"
    )]
    Newer {
        /// Where it is.
        path: String,
        /// What it says.
        found: i64,
        /// What this program knows.
        known: i64,
    },
    /// The file, its folder or the disk.
    #[error("{path}: {fault}")]
    Storage {
        /// Where it is.
        path: String,
        /// What is wrong and what to do.
        fault: StorageFault,
    },
    /// A row that does not make sense; the others are not touched.
    #[error("the record {record} in the database cannot be read: {fault}")]
    Corrupt {
        /// Which row.
        record: String,
        /// What is wrong.
        fault: RecordFault,
    },
    /// A row that was not written by this broker as it is: somebody else changed or moved it. It is not used; the others
    /// are not touched.
    #[error("the record {record} in the database is not used: {reason}; {remedy}")]
    Altered {
        /// Which row, and what it says.
        record: String,
        /// What is wrong.
        reason: MacError,
        /// What to do.
        remedy: AlteredRemedy,
    },
    /// The master key is not the one that the database is sealed with.
    #[error(
        "{path} is sealed with master key {needed}, the configured one is {configured}: put key {needed} back, as \
         key.source or in key.previous; nothing else opens what is sealed with it"
    )]
    WrongKey {
        /// Where it is.
        path: String,
        /// The key that its rows are sealed with.
        needed: KeyId,
        /// The key in the configuration.
        configured: KeyId,
    },
    /// The store has been shut down.
    #[error("the store is closed")]
    Closed,
}

impl From<KeyringFault> for StoreError {
    fn from(fault: KeyringFault) -> Self {
        Self::Corrupt {
            record: "keyring".to_owned(),
            fault: fault.into(),
        }
    }
}
