//! What is wrong with a database's file, its folder or the disk, and what to do. Words of the system and of the database are
//! kept as they are.

use crate::vault::VaultError;

/// What could not be done with a file or a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// To open it.
    #[error("cannot be opened")]
    Open,
    /// To lock it.
    #[error("cannot be locked")]
    Lock,
    /// To make it.
    #[error("cannot be created")]
    Create,
    /// To read it.
    #[error("cannot be read")]
    Read,
    /// To write it.
    #[error("cannot be written")]
    Write,
    /// To see what it is.
    #[error("cannot be looked at")]
    LookAt,
    /// To put a copy of it into the state folder.
    #[error("cannot be copied into the state folder")]
    CopyIn,
    /// To make a copy in it.
    #[error("a copy cannot be made here")]
    CopyHere,
    /// To give it to its folder's owner.
    #[error("cannot be given to the owner of its folder")]
    Give,
    /// To write the database anew.
    #[error("it was not written anew")]
    WriteAnew,
    /// To write the journal in the state folder.
    #[error("the journal in state_dir cannot be used")]
    Journal,
    /// To start the thread that writes it.
    #[error("the writer thread cannot be started")]
    StartWriter,
}

/// What is wrong with a database's file, its folder or the disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageFault {
    /// The system did not do it.
    #[error("{failed}: {error}")]
    System {
        /// What.
        failed: Failed,
        /// The system's words.
        error: String,
    },
    /// A file that other users may read, which cannot be changed.
    #[error("is open to other users (mode {mode:04o}) and cannot be closed: {error}; run chmod 600")]
    OpenFile {
        /// Its mode.
        mode: u32,
        /// The system's words.
        error: String,
    },
    /// A folder that other users may read, which cannot be changed.
    #[error(
        "is open to other users (mode {mode:04o}) and cannot be closed: {error}; run chmod 700, or name a folder inside it"
    )]
    OpenFolder {
        /// Its mode.
        mode: u32,
        /// The system's words.
        error: String,
    },
    /// A folder that other users may read, and that is not for this program alone.
    #[error(
        "is open to other users (mode {mode:04o}) and holds files that are not token-broker's: give state_dir a folder of \
         its own"
    )]
    SharedFolder {
        /// Its mode.
        mode: u32,
    },
    /// Another file is there than the one that is open.
    #[error(
        "is not what the daemon opened: it was moved away and replaced, or something is mounted over it, so nothing is \
         written any more; put it back where it was, or start the daemon again to go on with what is there now"
    )]
    Replaced,
    /// The file that is open is not there any more.
    #[error(
        "is gone: it was moved away or removed while the daemon runs, so nothing is written any more; put it back where it \
         was before the daemon ends"
    )]
    Gone,
    /// A restore did not come to its end.
    #[error(
        "a restore was cut off here: run `token-broker restore` once more; the database from before lies in the same folder \
         (broker.db.replaced-…)"
    )]
    RestoreCutOff,
    /// There is nothing to copy.
    #[error("there is no database here")]
    NoDatabase,
    /// Somebody else is at the database.
    #[error("the database is busy: try again")]
    Busy,
    /// Somebody reads it.
    #[error("somebody reads it: it is written anew at another start")]
    BeingRead,
    /// Its copy has something else in it.
    #[error("it was not written anew: its copy is not what it was made of")]
    CopyDiffers,
    /// The database from before is still there.
    #[error("was not replaced: {0}; mend that and run the same command again")]
    NotReplaced(String),
    /// A backup in which a check found damage.
    #[error("is damaged ({0}): nothing was changed; take another backup")]
    DamagedBackup(String),
    /// A backup that is none.
    #[error("is not a database, or it is damaged: nothing was changed; take another backup ({0})")]
    NoBackup(String),
    /// A backup that the database cannot look at.
    #[error("cannot be looked at: nothing was changed ({0})")]
    UnreadBackup(String),
    /// The file system has no write-ahead logs.
    #[error(
        "the file system does not allow a write-ahead log (journal mode {0}): put state_dir on a local disk"
    )]
    NoWriteAheadLog(String),
    /// A table, or a column of it, is missing.
    #[error(
        "the database's schema is damaged, or somebody changed it: {missing}; it was left as it is: undo that change, or \
         restore the database from a backup",
        missing = missing(table, column.as_deref())
    )]
    Schema {
        /// Which table.
        table: String,
        /// Which column, where the table is there.
        column: Option<String>,
    },
    /// A database that was to be empty.
    #[error(
        "is not empty: nothing was copied; name an empty database (`createdb`), or drop and create this one"
    )]
    NotEmpty,
    /// A file that a version before wrote last.
    #[error(
        "was written last by a version before: start this version's daemon on it once, stop it, and copy then"
    )]
    NotCurrent,
    /// A database of another program.
    #[error("is not a database of token-broker")]
    NotOurs,
    /// A file that another program has marked as its own.
    #[error("belongs to another program; it was left as it is: give state_dir a folder of its own")]
    OfAnotherProgram,
    /// The master key was not told apart.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// What the database said.
    #[error(transparent)]
    Database(#[from] DatabaseFault),
}

/// What a database said, and what it means.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseFault {
    /// There is no room.
    #[error(
        "the disk is full: this change was not written, everything before it is intact; free some space ({0})"
    )]
    DiskFull(String),
    /// What room there is, is kept for other changes.
    #[error(
        "the disk is full: what is left of it is kept for renewals and deletions, so this change was not written, and \
         everything before it is intact; free some space"
    )]
    KeptForOthers,
    /// The file may not be written.
    #[error(
        "the database cannot be written: give the daemon's user the file and its folder, on a writable file system ({0})"
    )]
    NotWritable(String),
    /// The file may not be opened.
    #[error(
        "the database cannot be opened: check that the file and its folder belong to the daemon's user ({0})"
    )]
    NotOpened(String),
    /// The disk failed.
    #[error(
        "the disk failed to read or write: what was asked was not done; check the file system and the kernel's log ({0})"
    )]
    DiskFailed(String),
    /// The disk did not confirm a commit, and it may be found done.
    #[error(
        "the disk did not confirm what was written: it is not known whether what was asked is done, and the next start may \
         find that it is; check the file system and the kernel's log, then look before asking again ({0})"
    )]
    Unconfirmed(String),
    /// The disk did not confirm a commit, and it was written over.
    #[error(
        "the disk did not confirm what was written, so it was taken back: what was asked was not done; check the file system \
         and the kernel's log ({0})"
    )]
    TakenBack(String),
    /// Nothing is written, since a commit before may yet be found done.
    #[error(
        "the disk does not confirm what is written: this change was not written, and none will be until it does; check the \
         file system and the kernel's log ({0})"
    )]
    NothingUntilConfirmed(String),
    /// Another program is at it.
    #[error("another program holds the database: what was asked was not done; stop that program ({0})")]
    Held(String),
    /// It is none, as a second look found as well.
    #[error(
        "this is not a database, or it is damaged beyond reading; it was left as it is: put a backup in its place with \
         `token-broker restore` ({0})"
    )]
    NoDatabase(String),
    /// It is damaged, as a second look found as well.
    #[error(
        "the database is damaged ({0}); it was left as it is: check the disk, then put a backup in its place with \
         `token-broker restore`"
    )]
    Damaged(String),
    /// A second look found nothing wrong.
    #[error(
        "reading the database failed ({0}), but a second look found it whole: nothing is lost and nothing was changed; check \
         the disk and the kernel's log, and try again"
    )]
    Whole(String),
    /// A second look was not possible.
    #[error(
        "the database cannot be read ({0}): whether it is damaged cannot be told; nothing was changed; check the disk and the \
         kernel's log first, and leave the database where it is"
    )]
    Unknown(String),
    /// A server that does not answer, or has ended the connection.
    #[error("the database does not answer: what was asked was not done; it is tried again ({0})")]
    Away(String),
    /// A server that takes no changes.
    #[error(
        "this server takes no changes, and nothing is read from a standby: name the primary, or all hosts of the database ({0})"
    )]
    NotPrimary(String),
    /// A server that does not let the broker in, or not do what it has to.
    #[error(
        "the database does not let the broker in: check user, database and files of [store], and that the user owns the \
         database ({0})"
    )]
    NotLetIn(String),
    /// A server that went away while it was to commit.
    #[error(
        "the database went away while it was to confirm a change: it is not known whether what was asked is done; look before \
         asking again ({0})"
    )]
    CommitUnknown(String),
    /// It ended a transaction by itself.
    #[error("the database ended the transaction")]
    TransactionEnded,
    /// Anything else.
    #[error("the database refused: {0}")]
    Refused(String),
}

/// What a schema lacks.
fn missing(table: &str, column: Option<&str>) -> String {
    match column {
        Some(column) => format!("its table {table} has no column {column}"),
        None => format!("it has no table {table}"),
    }
}

impl StorageFault {
    /// The system did not do it.
    pub(crate) fn system(failed: Failed, error: &impl std::fmt::Display) -> Self {
        let error = error.to_string();
        Self::System { failed, error }
    }
}
