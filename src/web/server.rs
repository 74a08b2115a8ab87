//! The HTTP listener.

use std::{io, net::SocketAddr, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{Web, probes::is_probe};
use crate::net::tcp::TcpServer;

/// The HTTP listener, bound.
pub struct HttpServer(TcpServer);

impl HttpServer {
    /// Binds `address`.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        TcpServer::bind(address).map(Self)
    }

    /// Where it really listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Serves until `shutdown`, then lets what is under way end.
    pub async fn serve(self, web: Arc<Web>, shutdown: CancellationToken) {
        let proxies = web.proxy_addresses().to_vec();
        let server = self.0.behind(proxies).with_probes(is_probe);
        let answer = move |request| {
            let web = web.clone();
            async move { web.answer(request).await }
        };
        server.serve("the HTTP listener", answer, shutdown).await;
    }
}
