//! `token-broker serve`.

use std::path::Path;

use sd_notify::NotifyState;

use super::{App, AppParts, node_daemon};
use crate::{
    budget::descriptors,
    cli::{Exit, Failure, Global, Outcome, ServeArgs},
    config::{self, Config, ConfigError, LogFormat},
    http_client::Egress,
    lifecycle::{
        self, Signals, Wish,
        file_access::{self, Reach},
        privileges, system_calls,
    },
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
    let confined = Confined::by(&mut config);
    super::runtime::block_on(serve(config, config_file, confined))
}

/// What the kernel refuses to this process from now on.
struct Confined {
    /// All but these folders, or why not.
    folders: Result<Reach, &'static str>,
    /// System calls.
    system_calls: bool,
}

impl Confined {
    /// What `[sandbox]` wants. What is not to be had stops nothing.
    fn by(config: &mut Config) -> Self {
        let folders = keep_to_folders(config);
        let filter = config
            .sandbox
            .seccomp
            .then(|| system_calls::refuse(system_calls::Needed::of(config)));
        if let Some(Err(error)) = &filter {
            config.warn(format!(
                "sandbox.seccomp is not in force, since the filter of system calls was not taken ({error}): run the daemon on a \
                 kernel, and in a container, with seccomp filters, or set it to false"
            ));
        }
        Self {
            folders,
            system_calls: matches!(filter, Some(Ok(()))),
        }
    }

    fn tell(&self, config: &Config) {
        match &self.folders {
            Ok(reach) => tracing::info!(
                write = ?reach.write,
                "the kernel keeps the daemon to its own folders, and to reading those of the system and of the files that it is \
                 told of"
            ),
            Err(reason) => tracing::info!(reason, "the kernel does not keep the daemon to its folders"),
        }
        if self.system_calls {
            tracing::info!(
                programs = config.key.starts_programs(),
                mounts = config.csi.is_some(),
                "the kernel refuses system calls that the daemon never needs"
            );
        } else if !config.sandbox.seccomp {
            tracing::info!("the kernel refuses the daemon no system calls: sandbox.seccomp is false");
        }
    }
}

fn keep_to_folders(config: &mut Config) -> Result<Reach, &'static str> {
    if !config.sandbox.landlock {
        return Err("sandbox.landlock is false");
    }
    if config.csi.is_some() {
        return Err("with [csi] it mounts, which a process that is kept to folders may not");
    }
    if config.key.starts_programs() {
        return Err("a key comes from a command:, a program that needs files of its own");
    }
    let reach = Reach::of(config, |name| std::env::var(name).ok());
    match file_access::keep_to(&reach) {
        Ok(true) => Ok(reach),
        Ok(false) => Err("this kernel has no Landlock, or it is older than Linux 5.19"),
        Err(error) => {
            config.warn(format!(
                "sandbox.landlock is not in force, since the rules about folders were not taken ({error}): run the daemon on a \
                 kernel, and in a container, with Landlock, or set it to false"
            ));
            Err("its rules were not taken")
        }
    }
}

async fn serve(config: Config, config_file: Option<&Path>, confined: Confined) -> anyhow::Result<()> {
    let log =
        log::init(config.log.format == LogFormat::Json, &config.log.level).map_err(anyhow::Error::msg)?;
    lifecycle::harden()?;
    if let Some(warning) = descriptors::check().map_err(ConfigError::new)? {
        tracing::warn!("{warning}");
    }
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    confined.tell(&config);
    let mut signals = Signals::listen()?;
    if let Some(upstream) = config.upstream.clone() {
        return node_daemon::run(&config, upstream, signals).await;
    }
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
