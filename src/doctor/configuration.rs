//! What the operator wrote: configuration, OAuth client, catalogue, master key.

use std::{os::unix::fs::MetadataExt, path::Path};

use tokio::task::spawn_blocking;

use super::finding::Finding;
use crate::{
    capability::Catalog,
    clock,
    config::{self, Config, KeySection, KeySource, writers},
    file,
    keyring::{self, KeyringError, Seals},
    postgres_store::PostgresStore,
    provider,
    seal::Seal,
    sqlite_store::SqliteStore,
    store::{NamedKeys, StoredKeyring},
    text::ShowPath,
    vault::{KeyError, KeyId},
};

/// Reads the configuration; what it says comes back for the other checks.
pub(super) fn check(file: Option<&Path>) -> (Option<Config>, Vec<Finding>) {
    const CHECK: &str = "configuration";
    let config = match Config::load(file, config::environment()) {
        Ok(config) => config,
        Err(error) => {
            let advice = "correct it; `token-broker init` writes a commented one";
            return (None, vec![Finding::fail(CHECK, error.to_string(), advice)]);
        }
    };
    let file = config.file.shown();
    let mut findings = vec![if config.file.exists() {
        Finding::ok(CHECK, format!("{file} can be used"))
    } else {
        let advice = "write one with `token-broker init`, or name yours with --config";
        Finding::warn(
            CHECK,
            format!("there is no {file}: defaults and the environment are used"),
            advice,
        )
    }];
    let warnings = config.warnings().iter();
    findings.extend(warnings.map(|warning| Finding::warn(CHECK, warning.as_str(), "")));
    if let Err(error) = Catalog::configured(&config) {
        findings.push(Finding::fail(
            "capabilities",
            error.to_string(),
            "correct the section [[capabilities]]",
        ));
    }
    if let Err(error) = provider::kinds::added(&config.providers, &config.google.redirect_uri) {
        let advice = "correct the section [[providers]]: the daemon does not start with it";
        findings.push(Finding::fail("providers", error.to_string(), advice));
    }
    (Some(config), findings)
}

/// The OAuth client: the one that a running daemon has `in_force`, since it alone knows the environment that it was started
/// with; else the one that a daemon would have if it were started like this command.
pub(super) fn check_client(config: &Config, in_force: Option<&str>) -> Finding {
    const CHECK: &str = "google client";
    if let Some(id) = in_force {
        return Finding::ok(CHECK, id);
    }
    match config.google.client() {
        Ok(client) => Finding::ok(CHECK, client.id),
        Err(error) => Finding::fail(CHECK, error.to_string(), ""),
    }
}

/// Asks the seals as the daemon would, and tries them on the database's keyring.
pub(super) async fn check_key(config: &Config) -> Vec<Finding> {
    let (mut findings, mut seals) = (Vec::new(), Vec::new());
    for source in config.key.sources() {
        if let (KeySource::Command(_), Some(reason)) = (source, config.written_by_others(writers::own_user()))
        {
            let message = format!("{source} was not started: {}: {reason}", config.file.shown());
            findings.push(Finding::fail(
                CHECK_KEY,
                message,
                "nobody else may name what is started",
            ));
            continue;
        }
        let (finding, seal) = check_source(source, &config.key).await;
        findings.push(finding);
        seals.extend(seal);
    }
    // Without one of them nothing can be said of the others.
    if seals.len() == findings.len() {
        let current = seals.remove(0);
        findings.extend(check_database(config, Seals::of(current, seals)).await);
    }
    findings
}

const CHECK_KEY: &str = "master key";

/// Whether the database opens with these seals; nothing where there is none that this user may look at.
async fn check_database(config: &Config, seals: Seals) -> Vec<Finding> {
    let state_dir = config.state_dir.clone();
    let named = match config.store.clone() {
        Some(section) => spawn_blocking(move || PostgresStore::keys_in(&section)),
        None => spawn_blocking(move || SqliteStore::keys_in(&state_dir)),
    };
    match named.await {
        Ok(Ok(NamedKeys::Keyring(stored))) => check_keyring(&stored, &seals).await,
        Ok(Ok(NamedKeys::Masters(masters))) => check_masters(&masters, &seals).into_iter().collect(),
        Ok(Err(error)) => vec![Finding::warn(
            CHECK_KEY,
            format!("it was not tried on the database: {error}"),
            "run the doctor as the daemon's user, or as root",
        )],
        Err(_) => Vec::new(),
    }
}

/// The database of `[store]`; nothing where the records are in a file.
pub(super) async fn check_store(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "database";
    let Some(section) = config.store.clone() else {
        return Vec::new();
    };
    let shown = section.shown.clone();
    let facts = match spawn_blocking(move || PostgresStore::look(&section)).await {
        Ok(Ok(facts)) => facts,
        Ok(Err(error)) => {
            let advice =
                "a daemon that runs serves the tokens that it has; one that is started now does not start";
            return vec![Finding::fail(CHECK, error.to_string(), advice)];
        }
        Err(_) => return Vec::new(),
    };
    let mut findings = vec![Finding::ok(
        CHECK,
        format!("{shown} answers, and takes changes: {}", facts.engine),
    )];
    if !facts.has_synchronous_standby {
        findings.push(Finding::warn(
            CHECK,
            "it has no synchronous standby: a failover may lose the last second's rotated tokens of a broker that dies with it",
            "set synchronous_standby_names, where a standby takes over",
        ));
    }
    findings
}

async fn check_keyring(stored: &StoredKeyring, seals: &Seals) -> Vec<Finding> {
    let lost = match keyring::try_open(seals, stored).await {
        Ok(lost) => lost,
        Err(error) => {
            let message = format!("the database's keyring does not open: {error}");
            let advice = "a daemon that is started now does not start";
            return vec![Finding::fail(CHECK_KEY, message, advice)];
        }
    };
    let mut findings = vec![Finding::ok(CHECK_KEY, "the database's keyring opens with it")];
    for (key, reason) in lost {
        let until = clock::rfc3339(key.changed_at);
        findings.push(Finding::warn(
            CHECK_KEY,
            format!("a key for backups from before {until} is lost: {reason}"),
            "such a backup can be restored with the seal that it was made with alone",
        ));
    }
    findings
}

/// The master keys that a database from before the keyring lies under.
fn check_masters(masters: &[KeyId], seals: &Seals) -> Option<Finding> {
    if masters.is_empty() {
        return None;
    }
    let missing = masters.iter().find(|id| !seals.has_master_key(**id));
    Some(match missing {
        None => Finding::ok(CHECK_KEY, "the database is sealed with it"),
        Some(id) => Finding::fail(CHECK_KEY, KeyringError::NoMasterKey(*id).to_string(), ""),
    })
}

async fn check_source(source: &KeySource, section: &KeySection) -> (Finding, Option<Seal>) {
    const CHECK: &str = CHECK_KEY;
    if let KeySource::File(path) = source
        && let Some(owner) = someone_elses(path)
    {
        let advice = "run the doctor as that user, or as root";
        let message = format!("{source} belongs to uid {owner} and was not looked at");
        return (Finding::warn(CHECK, message, advice), None);
    }
    let seal = match Seal::configured(source, section).await {
        Ok(seal) => seal,
        Err(error) => {
            let advice = if error.is::<KeyError>() {
                "restore the key in use from its copy; only for a new setup, `token-broker init` writes one"
            } else {
                ""
            };
            return (Finding::fail(CHECK, format!("{error:#}"), advice), None);
        }
    };
    if seal.master_key().is_some() {
        let message = format!("{source} can be read by its owner alone, and is a key");
        return (Finding::ok(CHECK, message), Some(seal));
    }
    match seal.key_in_use().await {
        Ok(id) => (
            Finding::ok(CHECK, format!("{source} answers, and wraps with its key {id}")),
            Some(seal),
        ),
        Err(error) => {
            let advice = "a daemon that runs goes on without it; one that starts waits for it, and keys cannot be rotated";
            (Finding::fail(CHECK, error.to_string(), advice), None)
        }
    }
}

/// Whose the file is, where that is neither this user nor anything root could not look at.
fn someone_elses(path: &Path) -> Option<u32> {
    let me = rustix::process::geteuid();
    let owner = path.metadata().ok()?.uid();
    (!me.is_root() && owner != me.as_raw() && file::open(path).is_err()).then_some(owner)
}
