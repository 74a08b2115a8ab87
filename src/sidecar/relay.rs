//! The metadata protocol for one agent's socket, and nothing beside it.

use std::{io, net::SocketAddr, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::{forward::Forwarder, hand::Shown, skew::BrokerClock, source::Source, upstream::Upstream};
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
        let forwarder = Forwarder {
            upstream: Arc::new(Upstream::new(&source, None, Path::new(""), None)),
            shown: Arc::new(ArcSwap::from_pointee(Shown::default())),
            broker_clock: Arc::new(BrokerClock::new(source, Arc::clone(&clock))),
            clock,
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
