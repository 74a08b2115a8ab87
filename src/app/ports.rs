//! The ports where Google's own client libraries ask.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::tasks::Tasks;
use crate::{
    broker::Broker,
    config::Config,
    delivery::{TcpServer, libraries},
};

/// The ports that the configuration asks for, bound.
pub(super) struct LibraryPorts {
    token_endpoint: Option<TcpServer>,
    metadata: Option<TcpServer>,
}

impl LibraryPorts {
    /// Binds them, and takes over into `config` where that was.
    pub(super) fn bind(config: &mut Config) -> anyhow::Result<Self> {
        let adc = config.adc.as_ref().map(|section| section.listen);
        let metadata = config.metadata.port.as_ref().map(|port| port.listen);
        let ports = Self {
            token_endpoint: bind("adc.listen", adc)?,
            metadata: bind("metadata.listen", metadata)?,
        };
        let address = |server: &Option<TcpServer>| server.as_ref().map(TcpServer::address);
        config.bound_for_libraries(address(&ports.token_endpoint), address(&ports.metadata));
        Ok(ports)
    }

    /// Serves them until `shutdown`.
    pub(super) fn serve(
        self,
        config: &Config,
        broker: &Arc<Broker>,
        tasks: &mut Tasks,
        shutdown: &CancellationToken,
    ) {
        if let Some(server) = self.token_endpoint {
            tracing::info!(listen = %server.address(), "agents' token endpoint");
            let serving = libraries::serve_token_endpoint(server, broker.clone(), shutdown.clone());
            tasks.spawn("the agents' token endpoint", serving);
        }
        if let (Some(server), Some(port)) = (self.metadata, &config.metadata.port) {
            tracing::info!(listen = %server.address(), agent = %port.agent, "metadata server");
            if broker.handle(&port.agent).is_none() {
                tracing::warn!(agent = %port.agent, "metadata.agent names an agent that there is not (yet)");
            }
            let (broker, port, project_id) =
                (broker.clone(), port.clone(), config.metadata.project_id.clone());
            let shutdown = shutdown.clone();
            tasks.spawn("the metadata server", async move {
                libraries::serve_metadata(server, broker, port.agent, &project_id, shutdown).await;
            });
        }
    }
}

fn bind(key: &str, address: Option<SocketAddr>) -> anyhow::Result<Option<TcpServer>> {
    let Some(address) = address else {
        return Ok(None);
    };
    let server = TcpServer::bind(address);
    server
        .map(Some)
        .with_context(|| format!("{key} {address} cannot be bound"))
}
