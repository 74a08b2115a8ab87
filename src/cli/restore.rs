//! `restore`: a backup takes the database's place.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use jiff::Timestamp;

use super::{options::Global, output::Output, prompt::confirm, settings, style::Tone};
use crate::{
    client::exit::{Exit, Failure, Outcome},
    clock,
    config::Config,
    entropy::{Entropy, SystemEntropy},
    keyring::{self, Seals},
    sqlite_store::{Restore, SqliteStore},
    store::{StoreError, StoredKeyring},
    text::{ShowPath, count},
    vault::{KeyId, Vault},
};

const EXAMPLES: &str = "\
Examples:
  systemctl stop token-broker
  token-broker restore /var/backups/token-broker/2026-01-15.db
  systemctl start token-broker

The daemon has to be stopped. FILE is looked at first: it has to be a whole database of token-broker, of this version or an \
older one, and its keyring has to open: by the seal of key.source, by one of key.previous, or by what the keyring of the \
database that it replaces has kept. The database that it replaces is kept beside it. When the daemon starts, \
each account is checked with its provider before an agent has a token of it: it may have been disconnected since the backup.";

// What to restore.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Runs `restore`.
pub(super) async fn run(args: &RestoreArgs, global: &Global, output: &mut Output) -> Outcome {
    let config = settings::load(global)?;
    let missing = |error: crate::config::ConfigError| Failure::misconfigured(error.to_string());
    config.check_is_there().map_err(missing)?;
    if let Some(store) = &config.store {
        return Err(Failure::misconfigured(format!(
            "the records are in {}: restore that database with its own tools; a backup of a file goes to a state_dir, and from there \
             into an empty database with `token-broker store copy`",
            store.shown
        )));
    }
    let (file, state_dir) = (args.file.shown(), config.state_dir.shown());
    if !args.file.exists() {
        return Err(Failure::new(Exit::Failed, format!("there is no file {file}")));
    }
    let keys = keys(&config, &args.file, output.now()).await?;
    let restore = Restore::prepare(&config.state_dir, &args.file, &keys.vault, keys.keyring.as_ref());
    let restore = restore.map_err(failure)?;
    let accounts = restore.accounts();
    let what = count(accounts, "account", "accounts");
    if !args.yes {
        let fate = if restore.replaces() {
            "The database there is kept under another name; what was connected since the backup is not in force any more."
        } else {
            "There is no database yet."
        };
        output.note(&format!("{file} is a whole database with {what}. {fate}"));
        confirm(output, &format!("Restore it to {state_dir}?"))?;
    }
    let suffix = format!(
        ".replaced-{}",
        clock::rfc3339(output.now()).replace(['-', ':'], "")
    );
    let replaced = restore.put_in_place(&suffix).map_err(failure)?;
    if output.is_json() {
        output.json(&serde_json::json!({
            "file": file.to_string(),
            "state_dir": state_dir.to_string(),
            "accounts": accounts,
            "replaced": replaced.map(|path| path.display().to_string()),
            "former_key": keys.replaced_since.map(|key| key.to_string()),
        }))?;
        return Ok(Exit::Ok);
    }
    output.line(&format!("Restored {file} to {state_dir}: {what}."))?;
    if let Some(replaced) = replaced {
        output.line(&format!("  the database from before: {}", replaced.shown()))?;
    }
    if let Some(key) = keys.replaced_since {
        let advice = "run `token-broker key rotate` when the daemon runs, above all if it was replaced since it leaked";
        let message = format!("  the key {key}, which was replaced since, is the active one again: {advice}");
        output.toned(Tone::Warn, &message)?;
    }
    output.line(
        "  start the daemon: it checks each account with its provider before an agent has a token of it",
    )?;
    Ok(Exit::Ok)
}

/// The keys of a backup.
struct Keys {
    /// Those that it is sealed with.
    vault: Arc<Vault>,
    /// The keyring that it gets, where it is to have another than its own.
    keyring: Option<StoredKeyring>,
    /// Its active key, where the database that it replaces has replaced that.
    replaced_since: Option<KeyId>,
}

async fn keys(config: &Config, file: &Path, now: Timestamp) -> Result<Keys, Failure> {
    let entropy = Arc::new(SystemEntropy);
    let seals = Seals::configured(&config.key).await;
    let seals = seals.map_err(|error| Failure::misconfigured(format!("{error:#}")))?;
    // What is wrong with a file that is no database is said when it is looked at.
    let backup = SqliteStore::keys_of_file(file).unwrap_or_default();
    let present = SqliteStore::keys_in(&config.state_dir).unwrap_or_default();
    let new = (now, &*entropy as &dyn Entropy);
    let opened = keyring::for_restore(&seals, &backup, &present, new).await;
    let (keyring, keep) = opened.map_err(|error| {
        let message = format!("{}: {error}", file.shown());
        if error.is_away() {
            Failure::new(Exit::TryLater, message)
        } else {
            Failure::misconfigured(message)
        }
    })?;
    Ok(Keys {
        vault: Arc::new(Vault::new(keyring, entropy)),
        keyring: keep,
        replaced_since: keyring::replaced_since(&backup, &present),
    })
}

fn failure(error: StoreError) -> Failure {
    match error {
        StoreError::Locked(folder) => Failure::new(
            Exit::Failed,
            format!(
                "a daemon runs on {folder}: stop it first (`systemctl stop token-broker`, for example). Nothing was changed"
            ),
        ),
        StoreError::WrongKey { .. } | StoreError::Newer { .. } => Failure::misconfigured(error.to_string()),
        other => Failure::new(Exit::Failed, other.to_string()),
    }
}
