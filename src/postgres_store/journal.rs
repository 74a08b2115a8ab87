//! Rotated refresh tokens, on the broker's own disk before the database is told of them.
//!
//! What a provider gave in the place of a refresh token exists here alone until the database has it, which may be away. So it is
//! written down first, sealed as in the database, and removed when the database has it, or says that it is of no use. What lies
//! there at a start is told to the database before anything else is done.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::{
    id::IntegrationId,
    sql::{
        bound::Bound,
        column::{integer, micros},
    },
    store::{Health, RenewalOutcome},
    text::ShowPath,
    vault::{Field, Sealed, Vault},
};

/// The folder in the state folder.
const FOLDER: &str = "journal";

/// A grant that a renewal brought.
#[derive(Clone)]
pub(super) struct Entry {
    /// The account.
    pub(super) id: IntegrationId,
    /// What it had when the renewal began.
    pub(super) version: u64,
    rotated: Sealed,
    expires_at: Option<i64>,
}

impl Entry {
    /// What of an outcome would be lost; `None` where the grant was not rotated.
    pub(super) fn of(id: &IntegrationId, version: u64, outcome: &RenewalOutcome) -> Option<Self> {
        Some(Self {
            id: id.clone(),
            version,
            rotated: outcome.rotated.clone()?,
            expires_at: outcome.grant_expires_at.map(micros),
        })
    }

    /// The outcome, without the access token, which is asked for again.
    pub(super) fn outcome(&self) -> RenewalOutcome {
        RenewalOutcome {
            rotated: Some(self.rotated.clone()),
            health: Health::Active,
            grant_expires_at: self
                .expires_at
                .and_then(|time| jiff::Timestamp::from_microsecond(time).ok()),
            renewed_at: None,
            token: None,
        }
    }
}

impl Bound for Entry {
    const PURPOSE: &'static str = "journal";

    fn fields(&self) -> Vec<Field<'_>> {
        vec![
            self.id.as_str().into(),
            integer(self.version).into(),
            self.expires_at.into(),
            self.rotated.as_bytes().into(),
        ]
    }
}

/// An entry as its file has it.
#[derive(Serialize, Deserialize)]
struct Written {
    id: String,
    version: u64,
    expires_at: Option<i64>,
    rotated: String,
    mac: String,
}

/// The folder of entries: a file for each account, since one renewal at a time is under way for it.
#[derive(Clone)]
pub(super) struct Journal(PathBuf);

impl Journal {
    /// In this state folder, which comes to be if need be.
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let folder = state_dir.join(FOLDER);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        Ok(Self(folder))
    }

    /// Writes an entry down, in the place of the account's one before. When it returns, the disk has it. Blocks.
    pub(super) fn write(&self, vault: &Vault, entry: &Entry) -> io::Result<()> {
        let written = Written {
            id: entry.id.to_string(),
            version: entry.version,
            expires_at: entry.expires_at,
            rotated: BASE64_STANDARD.encode(entry.rotated.as_bytes()),
            mac: BASE64_STANDARD.encode(entry.mac(vault).as_bytes()),
        };
        let mut file = NamedTempFile::new_in(&self.0)?;
        file.write_all(&serde_json::to_vec(&written)?)?;
        file.as_file().sync_all()?;
        file.persist(self.path(&entry.id)).map_err(|error| error.error)?;
        File::open(&self.0)?.sync_all()
    }

    /// The database has it, or it is of no use. One that stays is told to the database once more, which knows it. Blocks.
    pub(super) fn remove(&self, id: &IntegrationId) {
        let path = self.path(id);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %path.shown(), %error, "an entry of the journal could not be removed");
        }
    }

    /// What was written down and not removed. What is no entry of this broker's is left where it is, and named in the log.
    pub(super) fn entries(&self, vault: &Vault) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for file in fs::read_dir(&self.0)? {
            let path = file?.path();
            // What a crash left of one that was never whole.
            if path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b".tmp"))
            {
                let _ = fs::remove_file(&path);
                continue;
            }
            match read(&path, vault) {
                Ok(entry) => entries.push(entry),
                Err(reason) => {
                    tracing::error!(file = %path.shown(), reason, "this is no entry of the journal: it is not used");
                }
            }
        }
        Ok(entries)
    }

    fn path(&self, id: &IntegrationId) -> PathBuf {
        self.0.join(id.as_str())
    }
}

fn read(path: &Path, vault: &Vault) -> Result<Entry, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let written: Written = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let decode = |text: &str| BASE64_STANDARD.decode(text).map_err(|error| error.to_string());
    let entry = Entry {
        id: written
            .id
            .parse()
            .map_err(|error: crate::id::InvalidId| error.to_string())?,
        version: written.version,
        rotated: Sealed::from_bytes(decode(&written.rotated)?),
        expires_at: written.expires_at,
    };
    let mac = decode(&written.mac)?;
    entry.verify(vault, &mac).map_err(|error| error.to_string())?;
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        entropy::SystemEntropy,
        secret::Key,
        vault::{Binding, Keyring},
    };

    fn vault() -> Vault {
        let keyring = Keyring::new(Key::new([1; 32]), Vec::new());
        Vault::new(keyring, Arc::new(SystemEntropy))
    }

    fn entry(vault: &Vault, number: u64) -> Entry {
        let id: IntegrationId = format!("int_{number:020x}").parse().unwrap();
        let outcome = RenewalOutcome {
            rotated: Some(vault.seal(&Binding::RefreshToken(&id), b"next")),
            health: Health::Active,
            grant_expires_at: jiff::Timestamp::from_microsecond(7).ok(),
            renewed_at: None,
            token: None,
        };
        Entry::of(&id, number, &outcome).unwrap()
    }

    #[test]
    fn an_entry_is_there_until_it_is_removed_and_one_that_was_changed_is_not_used() {
        let (folder, vault) = (tempfile::tempdir().unwrap(), vault());
        let journal = Journal::open(folder.path()).unwrap();
        for number in [1, 2] {
            journal.write(&vault, &entry(&vault, number)).unwrap();
        }
        journal.remove(&entry(&vault, 1).id);
        journal.remove(&entry(&vault, 1).id);
        let found = Journal::open(folder.path()).unwrap().entries(&vault).unwrap();
        assert_eq!(
            (found.len(), found[0].version, found[0].expires_at),
            (1, 2, Some(7))
        );
        let path = journal.path(&found[0].id);
        let changed = fs::read_to_string(&path)
            .unwrap()
            .replace("\"version\":2", "\"version\":3");
        fs::write(&path, changed).unwrap();
        fs::write(folder.path().join("journal/.tmpabc"), "").unwrap();
        assert!(journal.entries(&vault).unwrap().is_empty());
        assert_eq!(fs::read_dir(folder.path().join("journal")).unwrap().count(), 1);
    }

    #[test]
    fn what_was_not_rotated_is_not_written_down() {
        let vault = vault();
        let entry = entry(&vault, 1);
        let outcome = RenewalOutcome {
            rotated: None,
            ..entry.outcome()
        };
        assert!(Entry::of(&entry.id, 1, &outcome).is_none());
    }
}
