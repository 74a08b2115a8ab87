//! What the operator wrote: configuration, OAuth client, catalogue, master key.

use std::{os::unix::fs::MetadataExt, path::Path};

use super::{
    super::{args::Global, settings},
    Finding,
};
use crate::{
    catalog::Catalog,
    config::{Config, KeySource},
    vault::key,
};

/// Reads the configuration; what it says comes back for the other checks.
pub(super) fn check(global: &Global) -> (Option<Config>, Vec<Finding>) {
    const CHECK: &str = "configuration";
    let config = match settings::load(global) {
        Ok(config) => config,
        Err(failure) => {
            let advice = "correct it; `token-broker init` writes a commented one";
            return (None, vec![Finding::fail(CHECK, failure.message, advice)]);
        }
    };
    let file = config.file.display();
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
    if let Err(error) = Catalog::builtin().with(&config.capabilities) {
        findings.push(Finding::fail(
            "capabilities",
            error.to_string(),
            "correct the section [[capabilities]]",
        ));
    }
    findings.push(match config.google.client() {
        Ok(client) => Finding::ok("google client", client.id),
        Err(error) => Finding::fail("google client", error.to_string(), ""),
    });
    (Some(config), findings)
}

/// Reads the master keys as the daemon would.
pub(super) async fn check_key(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in std::iter::once(&config.key.source).chain(&config.key.previous) {
        findings.push(check_source(source, &config.key.command_environment).await);
    }
    findings
}

async fn check_source(source: &KeySource, passed: &[String]) -> Finding {
    const CHECK: &str = "master key";
    if let KeySource::File(path) = source
        && let Some(owner) = someone_elses(path)
    {
        let advice = "run the doctor as that user, or as root";
        return Finding::warn(
            CHECK,
            format!("{source} belongs to uid {owner} and was not looked at"),
            advice,
        );
    }
    let advice = "restore the key in use from its copy; only for a new setup, `token-broker init` writes one";
    match source.read(|name| std::env::var(name).ok(), passed).await {
        Err(error) => Finding::fail(CHECK, error.to_string(), ""),
        Ok(text) => match key::parse(text.as_bytes()) {
            Ok(_) => Finding::ok(
                CHECK,
                format!("{source} can be read by its owner alone, and is a key"),
            ),
            Err(error) => Finding::fail(CHECK, format!("{source}: {error}"), advice),
        },
    }
}

/// Whose the file is, where that is neither this user nor anything root could not look at.
fn someone_elses(path: &Path) -> Option<u32> {
    let me = rustix::process::geteuid();
    let owner = path.metadata().ok()?.uid();
    (!me.is_root() && owner != me.as_raw() && std::fs::File::open(path).is_err()).then_some(owner)
}
