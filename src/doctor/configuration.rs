//! What the operator wrote: configuration, OAuth client, catalogue, master key.

use std::{os::unix::fs::MetadataExt, path::Path, sync::Arc};

use super::finding::Finding;
use crate::{
    capability::Catalog,
    config::{self, Config, KeySource, writers},
    entropy::SystemEntropy,
    file, provider,
    secret::Key,
    sqlite_store::SqliteStore,
    store::StoreError,
    text::ShowPath,
    vault::{Keyring, Vault, key},
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

/// Reads the master keys as the daemon would, and tries them on the database.
pub(super) async fn check_key(config: &Config) -> Vec<Finding> {
    let (mut findings, mut keys) = (Vec::new(), Vec::new());
    for source in std::iter::once(&config.key.source).chain(&config.key.previous) {
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
        let (finding, key) = check_source(source, &config.key.command_environment).await;
        findings.push(finding);
        keys.extend(key);
    }
    // Without one of them nothing can be said of the others.
    if keys.len() == findings.len() {
        findings.extend(check_database(config, keys).await);
    }
    findings
}

const CHECK_KEY: &str = "master key";

/// Whether the database is sealed with these keys; nothing where there is none that this user may look at.
async fn check_database(config: &Config, mut keys: Vec<Key>) -> Option<Finding> {
    let active = keys.remove(0);
    let vault = Vault::new(Keyring::new(active, keys), Arc::new(SystemEntropy));
    let state_dir = config.state_dir.clone();
    let tried = tokio::task::spawn_blocking(move || SqliteStore::try_key(&state_dir, &vault));
    match tried.await.ok()? {
        Ok(true) => Some(Finding::ok(CHECK_KEY, "the database is sealed with it")),
        Ok(false) => None,
        Err(error @ StoreError::WrongKey { .. }) => Some(Finding::fail(CHECK_KEY, error.to_string(), "")),
        Err(error) => Some(Finding::warn(
            CHECK_KEY,
            format!("it was not tried on the database: {error}"),
            "run the doctor as the daemon's user, or as root",
        )),
    }
}

async fn check_source(source: &KeySource, passed: &[String]) -> (Finding, Option<Key>) {
    const CHECK: &str = CHECK_KEY;
    if let KeySource::File(path) = source
        && let Some(owner) = someone_elses(path)
    {
        let advice = "run the doctor as that user, or as root";
        let message = format!("{source} belongs to uid {owner} and was not looked at");
        return (Finding::warn(CHECK, message, advice), None);
    }
    let advice = "restore the key in use from its copy; only for a new setup, `token-broker init` writes one";
    match source.read(|name| std::env::var(name).ok(), passed).await {
        Err(error) => (Finding::fail(CHECK, error.to_string(), ""), None),
        Ok(text) => match key::parse(text.as_bytes()) {
            Ok(key) => {
                let message = format!("{source} can be read by its owner alone, and is a key");
                (Finding::ok(CHECK, message), Some(key))
            }
            Err(error) => (Finding::fail(CHECK, format!("{source}: {error}"), advice), None),
        },
    }
}

/// Whose the file is, where that is neither this user nor anything root could not look at.
fn someone_elses(path: &Path) -> Option<u32> {
    let me = rustix::process::geteuid();
    let owner = path.metadata().ok()?.uid();
    (!me.is_root() && owner != me.as_raw() && file::open(path).is_err()).then_some(owner)
}
