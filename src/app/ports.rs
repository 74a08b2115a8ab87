//! The ports where Google's own client libraries ask.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::tasks::Tasks;
use crate::{
    agent_api::{
        google_compat::{self, MetadataSource},
        holding::Holdings,
    },
    broker::Broker,
    config::Config,
    net::tcp::TcpServer,
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
        holdings: &Arc<Holdings>,
        tasks: &mut Tasks,
        shutdown: &CancellationToken,
    ) {
        if let Some(server) = self.token_endpoint {
            tracing::info!(listen = %server.address(), "agents' token endpoint");
            let (broker, holdings) = (broker.clone(), holdings.clone());
            let serving = google_compat::serve_token_endpoint(server, broker, holdings, shutdown.clone());
            tasks.spawn("the agents' token endpoint", serving);
        }
        if let (Some(server), Some(port)) = (self.metadata, &config.metadata.port) {
            tracing::info!(listen = %server.address(), agent = %port.agent, "metadata server");
            if broker.agent_list.handle(&port.agent).is_none() {
                tracing::warn!(agent = %port.agent, "metadata.agent names an agent that there is not (yet)");
            }
            let source = MetadataSource {
                broker: broker.clone(),
                holdings: holdings.clone(),
                agent: port.agent.clone(),
                project_id: config.metadata.project_id.as_str().into(),
            };
            let serving = google_compat::serve_metadata(server, source, shutdown.clone());
            tasks.spawn("the metadata server", serving);
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
