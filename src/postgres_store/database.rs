//! A database of a broker: opened, read, written, closed.

use std::{path::Path, sync::Arc};

use crate::{
    audit_trail::{ends, size::Limit},
    config::StoreSection,
    entropy::SharedEntropy,
    postgres::{
        fault::{at, storage},
        schema,
        session::Session,
    },
    postgres_store::{
        brokers::{self, Me},
        grants,
        journal::Journal,
        reader::Readers,
        writer::Writer,
    },
    sql::{Fault, Sql},
    store::{Failed, KeyringFault, NamedKeys, StorageFault, StoreError, StoreFuture, StoredKeyring},
    tables::keyring,
    vault::Vault,
};

/// Records in a `PostgreSQL` database, which is this broker's until it is closed or dropped.
pub struct PostgresStore {
    readers: Readers,
    writer: Writer,
    pub(super) vault: Arc<Vault>,
    pub(super) broker: String,
    pub(super) trail_limit: Limit,
    pub(super) journal: Journal,
}

impl PostgresStore {
    /// Opens the database of `section`, and brings it up to date; one that has no keyring gets `keyring`, whose keys `vault` has.
    /// What lies in the journal, in `state_dir`, is told to it. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Taken`] while another broker is there, [`StoreError::Newer`] for one that a newer version changed,
    /// [`StoreError::WrongKey`] where `vault` lacks a key, and why it cannot be reached or used.
    pub fn open(
        section: &StoreSection,
        state_dir: &Path,
        vault: &Arc<Vault>,
        keyring: Option<&StoredKeyring>,
        entropy: &SharedEntropy,
    ) -> Result<Self, StoreError> {
        let me = Me {
            name: section.broker.clone(),
            instance: entropy.token(),
            shown: section.shown.clone(),
        };
        let (section, broker) = (Arc::new(section.clone()), section.broker.clone());
        let unusable =
            |error: std::io::Error| storage(&section.shown, StorageFault::system(Failed::Journal, &error));
        let journal = Journal::open(state_dir).map_err(unusable)?;
        let opened = open(&section, &me, vault, keyring).and_then(|(session, batch)| {
            replay(&session, &me, vault, &journal)?;
            Ok((session, batch))
        });
        let (session, batch) = opened.map_err(|fault| at(fault, &section.shown))?;
        Ok(Self {
            readers: Readers::new(section.clone()),
            writer: Writer::start(session, section, me, batch)?,
            vault: vault.clone(),
            broker,
            trail_limit: Limit::default(),
            journal,
        })
    }

    /// Brings the schema up to date; returns the version from before and the one now. Blocks.
    ///
    /// # Errors
    /// Why that is not possible.
    pub fn migrate(section: &StoreSection) -> Result<(i64, i64), StoreError> {
        let migrated = Session::open(section).and_then(|session| {
            let before = schema::state(&session, &section.shown)?.version;
            schema::migrate(&session, &section.shown)?;
            session.close();
            Ok(before)
        });
        let before = migrated.map_err(|fault| at(fault, &section.shown))?;
        Ok((before, schema::KNOWN.max(before)))
    }

    /// The keys that the database of `section` names. A broker may have it open. Changes nothing. Blocks.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn keys_in(section: &StoreSection) -> Result<NamedKeys, StoreError> {
        let named = Session::open(section).and_then(|session| {
            if schema::state(&session, &section.shown)?.version == 0 {
                return Ok(NamedKeys::default());
            }
            let found = keyring::read(&session)?;
            session.close();
            Ok(found.map_or_else(NamedKeys::default, NamedKeys::Keyring))
        });
        named.map_err(|fault| at(fault, &section.shown))
    }

    /// Commits what waits, and leaves the database to another broker. Whatever is asked afterwards gets
    /// [`StoreError::Closed`]. Dropping the store does the same and blocks meanwhile.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Resolves when a transaction was committed: whether changes can be written.
    ///
    /// # Errors
    /// Why they cannot; [`StoreError::Closed`] when the thread that writes has ended.
    pub async fn prove_writable(&self) -> Result<(), StoreError> {
        self.writer.run(|_| Ok(())).await
    }

    pub(super) fn read<T, F>(&self, work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql) -> Result<T, Fault> + Send + 'static,
    {
        Box::pin(self.readers.run(work))
    }

    /// Reads rows that are bound to the keyring.
    pub(super) fn read_bound<T, F>(&self, work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql, &Vault) -> Result<T, Fault> + Send + 'static,
    {
        // A read sees the rows of one moment, and judges them by the keys of now.
        let vault = self.vault.pinned();
        self.read(move |sql| work(sql, &vault))
    }

    /// Writes, perhaps more than once where the connection breaks.
    pub(super) fn write<T, F>(&self, mut work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnMut(&dyn Sql, &Vault) -> Result<T, Fault> + Send + 'static,
    {
        let vault = self.vault.clone();
        Box::pin(self.writer.run(move |sql| work(sql, &vault)))
    }
}

/// A session of a broker that has its name, and the number of its last transaction.
fn open(
    section: &StoreSection,
    me: &Me,
    vault: &Vault,
    keyring: Option<&StoredKeyring>,
) -> Result<(Session, i64), Fault> {
    let session = Session::open(section)?;
    schema::migrate(&session, &me.shown)?;
    session.begin("BEGIN", &me.name)?;
    match enter(&session, me, vault, keyring) {
        Ok(batch) => {
            ends::report(&session, vault)?;
            session.run("COMMIT")?;
            Ok((session, batch))
        }
        Err(fault) => {
            // It ends with the connection as well.
            let _ = session.run("ROLLBACK");
            Err(fault)
        }
    }
}

/// All of it or nothing: a trail without its marks would not be believed.
fn enter(sql: &dyn Sql, me: &Me, vault: &Vault, keyring: Option<&StoredKeyring>) -> Result<i64, Fault> {
    // One broker at a time enters.
    sql.number("SELECT version FROM schema_state FOR UPDATE", &[])?;
    let found = keyring::read(sql)?;
    if let Some(found) = &found {
        keyring::verify(found, &me.shown, vault)?;
        if found.active().is_none() {
            return Err(StoreError::from(KeyringFault::NotOneActive(0)).into());
        }
    }
    let claimed = brokers::claim(sql, me)?;
    match (&found, keyring) {
        (Some(_), _) => {}
        (None, Some(keyring)) if !has_records(sql)? => keyring::write(sql, keyring)?,
        // What is in it lies under a key that somebody took out. With a new one, nothing of it would be found.
        (None, _) => return Err(StoreError::from(KeyringFault::NotOneActive(0)).into()),
    }
    if claimed.is_new && sql.number("SELECT count(*) FROM audit", &[])? == Some(0) {
        ends::write(sql, vault, &ends::Ends::of_new_trail())?;
    }
    Ok(claimed.batch)
}

pub(super) fn has_records(sql: &dyn Sql) -> Result<bool, Fault> {
    let found = "SELECT (SELECT count(*) FROM integrations) + (SELECT count(*) FROM agents) + \
                 (SELECT count(*) FROM revocations) + (SELECT count(*) FROM holders)";
    Ok(sql.number(found, &[])? != Some(0))
}

/// Tells the database what the journal has: grants whose commit it never confirmed.
fn replay(session: &Session, me: &Me, vault: &Vault, journal: &Journal) -> Result<(), Fault> {
    let unread = |error: std::io::Error| storage(&me.shown, StorageFault::system(Failed::Journal, &error));
    for entry in journal.entries(vault).map_err(unread)? {
        session.begin("BEGIN", &me.name)?;
        let kept = grants::finish(session, vault, &entry.id, entry.version, &entry.outcome());
        match kept {
            Ok(_) => {
                session.run("COMMIT")?;
                tracing::warn!(
                    integration = %entry.id,
                    "the database has a rotated grant now that it had not confirmed before the broker ended"
                );
            }
            // It has this one, or one after it, or the account was connected again, or is gone.
            Err(Fault::Store(StoreError::Conflict)) => session.run("ROLLBACK")?,
            Err(Fault::Store(error)) => {
                session.run("ROLLBACK")?;
                tracing::error!(integration = %entry.id, %error, "a rotated grant of the journal could not be kept");
                continue;
            }
            Err(fault @ Fault::Database(_)) => return Err(fault),
        }
        journal.remove(&entry.id);
    }
    Ok(())
}
