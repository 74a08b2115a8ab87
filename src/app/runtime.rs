//! The async runtime of long-running commands, and the exit code of their end.

use std::ffi::OsStr;

use crate::{
    cli::{Exit, Failure, Outcome},
    secret::shape::redacted,
    text,
};

/// The variable by which tokio is told how many threads there are to be.
const THREADS: &str = "TOKIO_WORKER_THREADS";

/// Refuses what tokio would panic about.
fn check_threads(value: Option<&OsStr>) -> Result<(), Failure> {
    let Some(value) = value else { return Ok(()) };
    let number = value.to_str().and_then(|text| text.parse::<usize>().ok());
    if number.is_some_and(|number| number > 0) {
        return Ok(());
    }
    let shown = text::quoted(&redacted(&value.to_string_lossy()), 40);
    Err(Failure::misconfigured(format!(
        "{THREADS} is \"{shown}\": set it to a number of threads from 1 on, or leave it out"
    )))
}

/// Runs a long-running program on as many threads as there are cores.
pub(super) fn block_on(program: impl Future<Output = anyhow::Result<()>>) -> Outcome {
    check_threads(std::env::var_os(THREADS).as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(Exit::Failed, format!("no async runtime: {error}")))?;
    let ended = runtime.block_on(program);
    // What still blocks in the background must not hold the end up.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended.map(|()| Exit::Ok).map_err(|error| failure(&error))
}

/// What an error says, and who can act.
pub(super) fn failure(error: &anyhow::Error) -> Failure {
    let message = format!("{error:#}");
    let wrong_key = matches!(
        error.downcast_ref(),
        Some(crate::store::StoreError::WrongKey { .. })
    );
    let of_operator = error.is::<crate::config::ConfigError>()
        || error.is::<crate::capability::CatalogError>()
        || error.is::<crate::vault::key::KeyError>()
        || error.is::<crate::keyring::KeyringError>()
        || error.is::<crate::http_client::InvalidProxy>();
    if wrong_key || of_operator {
        return Failure::misconfigured(message);
    }
    Failure::new(Exit::Failed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_configuration_is_the_operators() {
        let entry = crate::config::CapabilityEntry {
            key: "x".into(),
            title: String::new(),
            usage: String::new(),
            group: "Other".into(),
            scopes: Vec::new(),
            integration: "google".into(),
            verification: None,
            satisfied_by: Vec::new(),
            satisfies: Vec::new(),
            origin: "config.toml:3".into(),
        };
        let wrong = crate::capability::Catalog::builtin().with(&[entry]).map(drop);
        let failure = failure(&wrong.unwrap_err().into());
        assert_eq!(failure.exit, Exit::Misconfigured);
        assert!(failure.message.starts_with("config.toml:3: "), "{failure}");
    }

    #[test]
    fn a_number_of_threads_that_is_none_is_refused_with_a_sentence() {
        let check = |value: Option<&str>| check_threads(value.map(OsStr::new));
        for good in [None, Some("1"), Some("64")] {
            assert!(check(good).is_ok(), "{good:?}");
        }
        for bad in ["0", "", "x", "-1", "1.5"] {
            let failure = check(Some(bad)).unwrap_err();
            assert_eq!(failure.exit, Exit::Misconfigured);
            assert!(
                failure
                    .message
                    .starts_with(&format!("TOKIO_WORKER_THREADS is \"{bad}\": ")),
                "{failure}"
            );
        }
    }
}
