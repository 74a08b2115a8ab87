//! Whether a database is damaged. A reader of that word may give up what is in it. So it is said only where a second look,
//! with a connection of its own, finds the same: a disk that failed once, and reads well again, has damaged nothing.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::{Connection, Error, ErrorCode, OpenFlags, ffi};

use crate::{sqlite::integrity, store::DatabaseFault};

/// How long the verdict on a database holds: a look reads all of it, and who asks may be the thread that writes.
const HOLDS: Duration = Duration::from_secs(60);

/// What a look at a whole database finds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// It is damaged, or no database: what was found.
    Damaged(String),
    Whole,
    /// It cannot be read: why.
    Unknown(String),
}

static LAST: Mutex<Option<(PathBuf, Instant, Verdict)>> = Mutex::new(None);

/// What it means that a database said it is no database, or damaged, as it looked.
pub(crate) fn judge(path: &Path, error: &Error) -> DatabaseFault {
    match second_look(path) {
        Verdict::Damaged(_) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            DatabaseFault::NoDatabase(error.to_string())
        }
        Verdict::Damaged(finding) => DatabaseFault::Damaged(finding),
        Verdict::Whole => DatabaseFault::Whole(error.to_string()),
        Verdict::Unknown(why) => DatabaseFault::Unknown(why),
    }
}

/// The same for what an integrity check found in a database.
pub(crate) fn found(path: &Path, finding: &str) -> DatabaseFault {
    match second_look(path) {
        // What was found first, since it may say more.
        Verdict::Damaged(_) if !is_of_disk(finding) => DatabaseFault::Damaged(finding.to_owned()),
        Verdict::Damaged(finding) => DatabaseFault::Damaged(finding),
        Verdict::Whole => DatabaseFault::Whole(finding.to_owned()),
        Verdict::Unknown(why) => DatabaseFault::Unknown(why),
    }
}

fn second_look(path: &Path) -> Verdict {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((known, at, verdict)) = last.as_ref()
        && known == path
        && at.elapsed() < HOLDS
    {
        return verdict.clone();
    }
    let verdict = look(path);
    *last = Some((path.to_owned(), Instant::now(), verdict.clone()));
    verdict
}

fn look(path: &Path) -> Verdict {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let checked = Connection::open_with_flags(path, flags).and_then(|connection| {
        // Whatever closes last, nothing is written to what may be damaged.
        let keep = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        connection.set_db_config(keep, true)?;
        integrity::finding(&connection)
    });
    verdict(checked)
}

fn verdict(checked: rusqlite::Result<Option<String>>) -> Verdict {
    match checked {
        Ok(None) => Verdict::Whole,
        Ok(Some(finding)) if is_of_disk(&finding) => Verdict::Unknown(finding),
        Ok(Some(finding)) => Verdict::Damaged(finding),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Verdict::Damaged(error.to_string()),
            _ => Verdict::Unknown(error.to_string()),
        },
    }
}

/// A check tells of pages that it could not read by the code of the error; only where that says that the page makes no sense
/// is it damage.
fn is_of_disk(finding: &str) -> bool {
    let Some((_, code)) = finding.rsplit_once("error code=") else {
        return false;
    };
    let code: Option<i32> = code.trim().parse().ok();
    // The low byte of an extended code is the code itself.
    code.is_none_or(|code| !matches!(code & 0xff, ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: i32) -> Error {
        Error::SqliteFailure(ffi::Error::new(code), None)
    }

    fn database(folder: &Path) -> PathBuf {
        let path = folder.join("broker.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("CREATE TABLE a (b); INSERT INTO a VALUES (1)")
            .unwrap();
        path
    }

    #[test]
    fn what_reads_well_the_second_time_is_not_called_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path());
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB] {
            let reason = judge(&path, &said(code)).to_string();
            assert!(
                reason.contains("found it whole") && reason.contains("disk"),
                "{reason}"
            );
            assert!(
                !reason.contains("restore") && !reason.contains("damaged"),
                "{reason}"
            );
        }
        let error = found(&path, "Tree 4 page 4: unable to get the page. error code=10").to_string();
        assert!(error.contains("found it whole"), "{error}");
    }

    #[test]
    fn what_is_found_twice_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.db");
        std::fs::write(&path, [b'x'; 8192]).unwrap();
        let not = judge(&path, &said(ffi::SQLITE_NOTADB)).to_string();
        assert!(
            not.starts_with("this is not a database") && not.contains("token-broker restore"),
            "{not}"
        );
        let corrupt = judge(&path, &said(ffi::SQLITE_CORRUPT)).to_string();
        assert!(corrupt.contains("the database is damaged"), "{corrupt}");
        for sentence in [not, corrupt] {
            assert!(!sentence.contains("empty"), "{sentence}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_neither() {
        let disk = "Tree 4 page 4: unable to get the page. error code=266";
        assert_eq!(
            verdict(Ok(Some(disk.to_owned()))),
            Verdict::Unknown(disk.to_owned())
        );
        let page = "Tree 4 page 4: btreeInitPage() returns error code 11";
        assert_eq!(
            verdict(Ok(Some(page.to_owned()))),
            Verdict::Damaged(page.to_owned())
        );
        assert!(matches!(
            verdict(Err(said(ffi::SQLITE_IOERR))),
            Verdict::Unknown(_)
        ));
        assert!(matches!(
            verdict(Err(said(ffi::SQLITE_CORRUPT))),
            Verdict::Damaged(_)
        ));
        let folder = tempfile::tempdir().unwrap();
        let missing = judge(&folder.path().join("none.db"), &said(ffi::SQLITE_CORRUPT)).to_string();
        assert!(missing.contains("leave the database where it is"), "{missing}");
        assert!(!missing.contains("restore"), "{missing}");
    }
}
