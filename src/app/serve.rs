//! `token-broker serve`.

use std::path::Path;

use sd_notify::NotifyState;

use super::{App, AppParts};
use crate::{
    config::{Config, LogFormat},
    lifecycle::{self, Signals, Wish},
    telemetry::log,
};

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// What kept it from starting.
pub async fn serve(config_file: Option<&Path>) -> anyhow::Result<()> {
    let config = Config::load(config_file, std::env::vars())?;
    let log = log::init(config.log.format == LogFormat::Json, &config.log.level).map_err(anyhow::Error::msg)?;
    lifecycle::harden()?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let mut signals = Signals::listen()?;
    let app = tokio::select! {
        app = App::start(config, AppParts::default()) => app?,
        () = until_stop(&mut signals) => return Ok(()),
    };
    lifecycle::notify(NotifyState::Ready);
    loop {
        match signals.next().await {
            Wish::Stop => break,
            Wish::Reload => reload(&app, config_file, &log),
        }
    }
    lifecycle::notify(NotifyState::Stopping);
    app.stop().await;
    Ok(())
}

async fn until_stop(signals: &mut Signals) {
    while signals.next().await != Wish::Stop {}
}

/// Manifests and the log level change at once; the rest of the configuration takes a restart, and says so.
fn reload(app: &App, config_file: Option<&Path>, log: &log::LogHandle) {
    app.rescan();
    let fresh = match Config::load(config_file, std::env::vars()).and_then(|mut fresh| {
        // Compared with what was bound, not with what was asked for.
        fresh.bound(app.http_address)?;
        Ok(fresh)
    }) {
        Ok(fresh) => fresh,
        Err(error) => {
            tracing::error!(%error, "the configuration was not read again; the one in force stays");
            return;
        }
    };
    if let Err(error) = log.set_filter(&fresh.log.level) {
        tracing::error!(error, "the log level stays as it was");
    }
    let mut comparable = fresh;
    comparable.log.clone_from(&app.config().log);
    if comparable == *app.config() {
        tracing::info!("manifests and log level were read again");
    } else {
        tracing::warn!("manifests and log level were read again; the other changes take a restart");
    }
}
