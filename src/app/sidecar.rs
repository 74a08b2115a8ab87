//! `token-broker sidecar`.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    cli::{Exit, Failure, Global, Outcome, SidecarArgs},
    clock::SystemClock,
    entropy::SystemEntropy,
    lifecycle::{self, Signals, Wish},
    relay::Source,
    sidecar::{self, SidecarOptions},
    telemetry::log,
};

/// Threads: it serves the containers of one pod.
const THREADS: usize = 2;

/// Runs a sidecar until a signal ends it.
pub(super) fn run(global: &Global, args: SidecarArgs) -> Outcome {
    let options = options(args)?;
    let failed = |error: String| Failure::new(Exit::Failed, error);
    let level = if global.verbose > 0 { "debug" } else { "info" };
    let _log = log::init(global.is_json(), level).map_err(failed)?;
    let hardened = lifecycle::harden();
    hardened.map_err(|error| failed(format!("the process cannot be protected: {error}")))?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(THREADS).enable_all().build();
    let runtime = runtime.map_err(|error| failed(format!("no async runtime: {error}")))?;
    let ended = runtime.block_on(serve(options)).map_err(failed);
    // Open connections do not delay the end.
    runtime.shutdown_background();
    ended.map(|()| Exit::Ok)
}

fn options(args: SidecarArgs) -> Result<SidecarOptions, Failure> {
    if matches!(args.from, Source::Tls(_)) && args.agent.is_none() {
        return Err(Failure::usage(
            "with --from https://… a broker serves many agents: say whose tokens are wanted with --agent \
             (TOKEN_BROKER_SIDECAR_AGENT)",
        ));
    }
    Ok(SidecarOptions {
        source: args.from,
        agent: args.agent,
        token_file: args.token_file,
        // An empty variable is none.
        ca_file: args.ca_file.filter(|file| !file.as_os_str().is_empty()),
        directory: args.directory,
        metadata: args.metadata,
    })
}

async fn serve(options: SidecarOptions) -> Result<(), String> {
    let mut signals = Signals::listen().map_err(|error| format!("signals cannot be listened to: {error}"))?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        while signals.next().await != Wish::Stop {}
        stop.cancel();
    });
    sidecar::run(options, Arc::new(SystemClock), Arc::new(SystemEntropy), shutdown).await
}
