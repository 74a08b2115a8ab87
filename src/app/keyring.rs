//! The store and its keys, opened together.

use std::{sync::Arc, time::Duration};

use sd_notify::NotifyState;
use tokio::sync::{Mutex, RwLock};

use super::AppParts;
use crate::{
    config::Config,
    keyring::{self, Inspection, KeyringCases, KeyringError, KeyringParts, Resealing, Rotation, Seals},
    lifecycle,
    sqlite_store::SqliteStore,
    vault::Vault,
};

/// A wait for the seal is told to systemd this far ahead: longer than the longest pause between two attempts.
const UNTIL_NEXT: Duration = Duration::from_secs(60);

/// A store that is open, and what its secrets are sealed with.
pub(super) struct OpenStore {
    pub(super) store: Arc<SqliteStore>,
    pub(super) vault: Arc<Vault>,
    pub(super) keyring: KeyringCases,
}

/// Opens the keyring, with the seal that the configuration names, and then the store. Waits for a seal that is away.
pub(super) async fn open(config: &Config, parts: &AppParts) -> anyhow::Result<OpenStore> {
    let seals = Seals::configured(&config.key).await?;
    let stored = SqliteStore::keyring_in(&config.state_dir)?;
    let masters = match &stored {
        Some(_) => Vec::new(),
        None => SqliteStore::master_keys_in(&config.state_dir)?,
    };
    let (now, entropy) = (parts.clock.now(), &*parts.entropy);
    let opened = keyring::open(&seals, stored, &masters, now, entropy, waits).await?;
    let vault = Arc::new(Vault::new(opened.keyring, parts.entropy.clone()));
    let store = SqliteStore::open_with(&config.state_dir, &vault, opened.founded.as_ref())?;
    let store = Arc::new(store);
    let keyring = Arc::new(KeyringParts {
        keys: store.clone(),
        records: store.clone(),
        vault: vault.clone(),
        seals: RwLock::new(seals),
        clock: parts.clock.clone(),
        entropy: parts.entropy.clone(),
        keep_days: config.key.keep_days,
        fresh_section: fresh_section(config),
        turn: Mutex::default(),
    });
    Ok(OpenStore {
        store,
        vault,
        keyring: KeyringCases {
            rotation: Rotation::new(keyring.clone()),
            resealing: Resealing::new(keyring.clone()),
            inspection: Inspection::new(keyring),
        },
    })
}

/// Says in the log and to systemd what the start waits for.
fn waits(away: &KeyringError) {
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

/// Reads `[key]` as it is on disk, where the configuration was read.
fn fresh_section(config: &Config) -> keyring::FreshSection {
    let config = config.clone();
    Box::new(move || config.on_disk().map(|fresh| fresh.key))
}
