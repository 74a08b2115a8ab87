//! `token-broker sidecar`: an agent's tokens for the other containers of its pod.
//!
//! It follows a broker (the node's, on an agent's socket, or another one over TLS), keeps `env`, `access_token` and
//! `status.json` in a directory that the containers share, and forwards what they ask on `broker.sock` there and on the
//! metadata port. It holds no grant and decides nothing: what the broker takes away is gone here as well.

mod changes;
mod output_dir;
mod place;
mod sync;

use std::{
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwapOption;
use tokio::{net::UnixListener, sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use self::{output_dir::OutputDir, sync::BrokerSync};
use crate::{
    clock::SharedClock,
    entropy::SharedEntropy,
    id::AgentName,
    net::tcp::TcpServer,
    relay::{
        Source,
        broker::Broker,
        forward::{Forwarder, Places},
        skew::BrokerClock,
        upstream::Upstream,
    },
    text::ShowPath,
};

/// What a sidecar is told once.
#[derive(Debug, Clone)]
pub struct SidecarOptions {
    /// Where tokens come from.
    pub source: Source,
    /// Whose tokens; over TLS it has to be said.
    pub agent: Option<AgentName>,
    /// The pod's token, for a broker over TLS.
    pub token_file: PathBuf,
    /// The authorities of that broker's certificate, in PEM; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// The directory that the pod's containers share.
    pub directory: PathBuf,
    /// Where the metadata protocol is served; nowhere when absent.
    pub metadata: Option<SocketAddr>,
}

/// The daemon's own directory is not to be written over, should it be mounted so that it could be.
fn refuse_own_source(options: &SidecarOptions) -> Result<(), String> {
    let Source::Socket(socket) = &options.source else {
        return Ok(());
    };
    let file = |path: &Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let (source, shared) = (socket.parent().and_then(file), file(&options.directory));
    if source.is_some() && source == shared {
        return Err(format!(
            "--directory {} is where --from's socket is: mount the agent's directory elsewhere in the sidecar",
            options.directory.shown()
        ));
    }
    Ok(())
}

/// Runs a sidecar until `shutdown`. When it returns, the directory holds no token of its.
///
/// # Errors
/// When the directory or the port cannot be used at all, as a sentence. Whatever else goes wrong is waited for.
pub async fn run(
    options: SidecarOptions,
    clock: SharedClock,
    entropy: SharedEntropy,
    shutdown: CancellationToken,
) -> Result<(), String> {
    refuse_own_source(&options)?;
    let shown = Arc::new(ArcSwapOption::empty());
    let (listeners, listening) = mpsc::channel(1);
    let output_dir = OutputDir::open(
        options.directory,
        options.agent.as_ref(),
        Arc::clone(&clock),
        Arc::clone(&shown),
        listeners,
    )?;
    let bound = |address| {
        let server = TcpServer::bind(address);
        server.map_err(|error| format!("--metadata {address} cannot be bound: {error}"))
    };
    let metadata = options.metadata.map(bound).transpose()?;
    let upstream = Upstream::new(
        &options.source,
        options.agent.as_ref(),
        &options.token_file,
        options.ca_file,
    );
    tracing::info!("tokens come from {}", upstream.source());
    let broker = Arc::new(Broker {
        upstream,
        clock: Arc::new(BrokerClock::new(options.source, Arc::clone(&clock))),
    });
    let forwarder = Arc::new(Forwarder {
        broker: Arc::clone(&broker),
        shown,
        clock: Arc::clone(&clock),
        places: Places::of_sidecar(),
        reader: None,
    });
    if let Some(server) = metadata {
        tracing::info!(listen = %server.address(), "metadata server");
        tokio::spawn(Arc::clone(&forwarder).serve_metadata(server, shutdown.clone()));
    }
    tokio::spawn(serve_each(listening, forwarder, shutdown.clone()));
    let (news, came) = mpsc::channel(1);
    let sync = BrokerSync {
        broker,
        agent: options.agent,
        clock,
        entropy,
        news,
    };
    tokio::spawn(sync.run());
    output_dir.run(came, shutdown).await;
    Ok(())
}

/// Serves the newest of the listeners that come.
async fn serve_each(
    mut listening: mpsc::Receiver<UnixListener>,
    forwarder: Arc<Forwarder>,
    stop: CancellationToken,
) {
    let mut serving: Option<JoinHandle<()>> = None;
    while let Some(listener) = listening.recv().await {
        let next = tokio::spawn(Arc::clone(&forwarder).serve(listener, stop.clone()));
        // Nobody comes by the one that is gone. Connections stay.
        if let Some(before) = serving.replace(next) {
            before.abort();
        }
    }
}

#[cfg(test)]
mod tests;
