//! The store and its keys, opened together.

use std::{sync::Arc, time::Duration};

use sd_notify::NotifyState;
use tokio::sync::{Mutex, RwLock, watch};

use super::{AppParts, database::Database};
use crate::{
    config::Config,
    keyring::{self, Inspection, KeyringCases, KeyringError, KeyringParts, Resealing, Rotation, Seals},
    lifecycle,
    store::{NamedKeys, StoreError},
    vault::Vault,
};

/// A wait for the seal is told to systemd this far ahead: longer than the longest pause between two attempts.
const UNTIL_NEXT: Duration = Duration::from_secs(60);

/// A store that is open, and what its secrets are sealed with.
pub(super) struct OpenStore {
    pub(super) database: Database,
    pub(super) vault: Arc<Vault>,
    pub(super) keyring: KeyringCases,
}

/// Opens the keyring, with the seal that the configuration names, and then the store. Waits for a seal that is away.
pub(super) async fn open(
    config: &Config,
    parts: &AppParts,
    waiting: &watch::Sender<String>,
) -> anyhow::Result<OpenStore> {
    let seals = Seals::configured(&config.key).await?;
    let (database, vault) = loop {
        if let Some(opened) = open_once(config, parts, &seals, waiting).await? {
            break opened;
        }
        tracing::info!(
            "the database was replaced while the start waited for its seal: it is looked at again"
        );
    };
    let keyring = Arc::new(KeyringParts {
        keys: database.store(),
        vault: vault.clone(),
        seals: RwLock::new(seals),
        clock: parts.clock.clone(),
        entropy: parts.entropy.clone(),
        keep_days: config.key.keep_days,
        turn: Mutex::default(),
    });
    Ok(OpenStore {
        database,
        vault,
        keyring: KeyringCases {
            rotation: Rotation::new(keyring.clone()),
            resealing: Resealing::new(keyring.clone()),
            inspection: Inspection::new(keyring),
        },
    })
}

/// Opens the keyring as it is now, and the store. `None` where another database, or another keyring, took the place of what was
/// looked at: until the store is open, nobody is kept from that.
async fn open_once(
    config: &Config,
    parts: &AppParts,
    seals: &Seals,
    waiting: &watch::Sender<String>,
) -> anyhow::Result<Option<(Database, Arc<Vault>)>> {
    let named = Database::keys_in(config).await?;
    let (now, entropy) = (parts.clock.now(), &*parts.entropy);
    let opened = keyring::open(seals, &named, now, entropy, |away| waits(away, waiting)).await?;
    let vault = Arc::new(Vault::new(opened.keyring, parts.entropy.clone()));
    let database = Database::open(config, &vault, opened.founded.clone(), &parts.entropy).await;
    let database = match database {
        Err(StoreError::WrongKey { .. }) if Database::keys_in(config).await? != named => {
            return Ok(None);
        }
        database => database?,
    };
    let expected = opened.founded.map_or(named, NamedKeys::Keyring);
    if NamedKeys::Keyring(database.store().keyring().await?) == expected {
        return Ok(Some((database, vault)));
    }
    database.close().await;
    Ok(None)
}

/// Says in the log, to systemd and to whoever asks meanwhile what the start waits for.
fn waits(away: &KeyringError, waiting: &watch::Sender<String>) {
    waiting.send_replace(format!("it waits for the seal of its keys: {away}"));
    tracing::warn!("the start waits for the seal: {away}");
    let microseconds = UNTIL_NEXT.as_micros().try_into().unwrap_or(u32::MAX);
    tokio::spawn(async move {
        lifecycle::notify(NotifyState::Status(
            "waiting for the seal that the keyring is wrapped by",
        ))
        .await;
        lifecycle::notify(NotifyState::ExtendTimeoutUsec(microseconds)).await;
    });
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Write,
        os::unix::fs::OpenOptionsExt,
        path::{Path, PathBuf},
    };

    use super::*;
    use crate::{
        entropy::{Entropy, SystemEntropy},
        vault::key,
    };

    /// A configuration whose database is in `folder`, and whose seal is a key beside it.
    fn configured(folder: &Path) -> Config {
        let path = folder.join("master.key");
        if !path.exists() {
            let mut options = fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .unwrap();
            file.write_all(key::encode(&key::generate(&SystemEntropy)).as_bytes())
                .unwrap();
        }
        let file = folder.join("config.toml");
        let text = format!(
            "state_dir = {:?}\n[key]\nsource = \"file:{}\"\n",
            folder.join("state"),
            path.display()
        );
        fs::write(&file, text).unwrap();
        Config::load(Some(&file), std::iter::empty()).unwrap()
    }

    /// Puts another database in place at the moment when the first key is made: while a start is under way.
    struct Exchanging {
        from: PathBuf,
        to: PathBuf,
    }

    impl Entropy for Exchanging {
        fn fill(&self, bytes: &mut [u8]) {
            if !self.to.exists() {
                fs::create_dir_all(self.to.parent().unwrap()).unwrap();
                fs::copy(&self.from, &self.to).unwrap();
            }
            SystemEntropy.fill(bytes);
        }
    }

    #[tokio::test]
    async fn a_database_that_was_restored_while_the_start_waited_is_looked_at_again() {
        let (backup, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let config = configured(folder.path());
        fs::copy(folder.path().join("master.key"), backup.path().join("master.key")).unwrap();
        let made = open(
            &configured(backup.path()),
            &AppParts::default(),
            &watch::Sender::default(),
        )
        .await
        .unwrap();
        let active = made.vault.active_key();
        made.database.close().await;
        drop(made);
        let parts = AppParts {
            entropy: Arc::new(Exchanging {
                from: backup.path().join("state/broker.db"),
                to: folder.path().join("state/broker.db"),
            }),
            ..AppParts::default()
        };
        let opened = open(&config, &parts, &watch::Sender::default()).await.unwrap();
        assert_eq!(opened.vault.active_key(), active, "the key of what was restored");
        let keyring = opened.database.store().keyring().await.unwrap();
        assert_eq!(keyring.active().unwrap().id, active);
    }
}
