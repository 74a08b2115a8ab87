//! The metadata protocol for one agent's socket, and nothing beside it.

use std::{io, net::SocketAddr, path::Path, sync::Arc};

use arc_swap::ArcSwapOption;
use tokio_util::sync::CancellationToken;

use super::{
    broker::Broker,
    forward::{Forwarder, Places},
    skew::BrokerClock,
    source::Source,
    upstream::Upstream,
};
use crate::{
    clock::{SharedClock, SystemClock},
    net::tcp::TcpServer,
};

/// Serves what an agent's `broker.sock` serves of it on a port, for libraries that speak nothing else.
pub struct MetadataRelay {
    server: TcpServer,
    forwarder: Forwarder,
}

impl MetadataRelay {
    /// Binds the port; the socket need not be there yet.
    ///
    /// # Errors
    /// When the system refuses the port.
    pub fn bind(socket: &Path, address: SocketAddr) -> io::Result<Self> {
        let source = Source::Socket(socket.to_owned());
        let clock: SharedClock = Arc::new(SystemClock);
        let broker = Broker {
            upstream: Upstream::new(&source, None, Path::new(""), None),
            clock: Arc::new(BrokerClock::new(source, Arc::clone(&clock))),
        };
        let forwarder = Forwarder {
            broker: Arc::new(broker),
            shown: Arc::new(ArcSwapOption::empty()),
            clock,
            places: Places::of_sidecar(),
            reader: None,
        };
        let server = TcpServer::bind(address)?;
        Ok(Self { server, forwarder })
    }

    /// Where it was bound.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Serves until `shutdown`.
    pub async fn serve(self, shutdown: CancellationToken) {
        Arc::new(self.forwarder)
            .serve_metadata(self.server, shutdown)
            .await;
    }
}
