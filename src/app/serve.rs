//! `token-broker serve`.

use std::path::Path;

use sd_notify::NotifyState;

use super::{App, AppParts};
use crate::{
    budget::descriptors,
    cli::{Exit, Failure, Global, Outcome, ServeArgs},
    config::{self, Config, ConfigError, LogFormat},
    http_client::Egress,
    lifecycle::{self, Signals, Wish, privileges, system_calls},
    telemetry::log,
};

/// Runs the daemon until a signal ends it.
pub(super) fn run(global: &Global, _: ServeArgs) -> Outcome {
    let config_file = global.config.as_deref();
    let mut config = Config::load(config_file, config::environment())
        .map_err(|error| super::runtime::failure(&error.into()))?;
    config
        .check_is_there()
        .map_err(|error| super::runtime::failure(&error.into()))?;
    config.warn_of_writers();
    // While there is one thread.
    privileges::keep(privileges::needed(&config)).map_err(|error| {
        let message = format!("privileges that the daemon does not need cannot be given up: {error}");
        Failure::new(Exit::Failed, message)
    })?;
    let refused = config
        .sandbox
        .seccomp
        .then(|| system_calls::refuse(system_calls::Needed::of(&config)));
    if let Some(Err(error)) = &refused {
        config.warn(format!(
            "sandbox.seccomp is not in force, since the filter of system calls was not taken ({error}): run the daemon on a kernel, \
             and in a container, with seccomp filters, or set it to false"
        ));
    }
    let is_filtered = matches!(refused, Some(Ok(())));
    super::runtime::block_on(serve(config, config_file, is_filtered))
}

async fn serve(config: Config, config_file: Option<&Path>, is_filtered: bool) -> anyhow::Result<()> {
    let log =
        log::init(config.log.format == LogFormat::Json, &config.log.level).map_err(anyhow::Error::msg)?;
    lifecycle::harden()?;
    if let Some(warning) = descriptors::check().map_err(ConfigError::new)? {
        tracing::warn!("{warning}");
    }
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    if is_filtered {
        tracing::info!(
            programs = config.key.starts_programs(),
            mounts = config.csi.is_some(),
            "the kernel refuses system calls that the daemon never needs"
        );
    }
    let mut signals = Signals::listen()?;
    let parts = AppParts {
        egress: Egress::from_environment(|name| std::env::var(name).ok())?,
        ..AppParts::default()
    };
    let mut app = tokio::select! {
        app = App::start(config, parts) => app?,
        () = until_stop(&mut signals) => return Ok(()),
    };
    lifecycle::notify(NotifyState::Ready).await;
    let fault = loop {
        tokio::select! {
            wish = signals.next() => match wish {
                Wish::Stop => break None,
                Wish::Reload => reload(&app, config_file, &log),
            },
            fault = app.fault() => break Some(fault),
        }
    };
    if let Some(fault) = &fault {
        tracing::error!("{fault}: the daemon ends, to be started again");
    }
    lifecycle::notify(NotifyState::Stopping).await;
    tokio::select! {
        () = app.stop() => {}
        () = signals.impatience() => anyhow::bail!(
            "a second signal ended the daemon at once: an account whose grant was being renewed may have to be connected again"
        ),
    }
    fault.map_or(Ok(()), |fault| Err(anyhow::Error::msg(fault)))
}

async fn until_stop(signals: &mut Signals) {
    while signals.next().await != Wish::Stop {}
}

/// Manifests, the log level and the clients of `[admin]` change at once; the rest of the configuration takes a restart, and says so.
fn reload(app: &App, config_file: Option<&Path>, log: &log::LogHandle) {
    app.rescan();
    let fresh = match Config::load(config_file, config::environment()) {
        Ok(fresh) => fresh,
        Err(error) => {
            tracing::error!(%error, "the configuration was not read again; the one in force stays");
            return;
        }
    };
    if let Err(error) = log.set_filter(&fresh.log.level) {
        tracing::error!(error, "the log level stays as it was");
    }
    match (app.take_over_clients(&fresh), &fresh.admin) {
        (false, _) => {}
        (true, Some(_)) => tracing::info!(
            "[[admin.clients]] changed: connections of clients that are not as they were have ended"
        ),
        (true, None) => tracing::warn!(
            "[admin] is not in the configuration any more: its clients' connections have ended, and none is let in; the \
             listener goes with a restart"
        ),
    }
    let changed = app.config().changed_keys(&fresh);
    if changed.is_empty() {
        tracing::info!("manifests and log level were read again");
    } else {
        tracing::warn!(
            "manifests and log level were read again; other changes take a restart: {}",
            changed.join(", ")
        );
    }
}
