//! The HTTP listener.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Web,
    probes::{is_probe, of_start},
};
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

    /// While a start waits: says that the daemon lives, and to everything else what is `told` that it waits for. Until `over`,
    /// and not before something is told.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn serve_start(
        &self,
        mut told: watch::Receiver<String>,
        over: CancellationToken,
    ) -> io::Result<impl Future<Output = ()> + use<>> {
        let server = self.0.twin()?.with_probes(is_probe);
        Ok(async move {
            if told.changed().await.is_err() {
                return;
            }
            let answer = move |request| {
                let answer = of_start(&request, &told.borrow());
                std::future::ready(answer)
            };
            server.serve("the HTTP listener", answer, over).await;
        })
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

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_start_that_waits_says_so_to_who_asks() {
        let server = HttpServer::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (address, over) = (server.address(), CancellationToken::new());
        let (tell, told) = watch::channel(String::new());
        let serving = tokio::spawn(server.serve_start(told, over.clone()).unwrap());
        // Asked before it is known whether it waits.
        let early = tokio::spawn(ask(address, "/readyz"));
        tell.send_replace("the seal is away".to_owned());
        let early = early.await.unwrap();
        assert!(early.starts_with("HTTP/1.1 503 "), "{early}");
        assert!(
            early.contains("the daemon is starting: the seal is away"),
            "{early}"
        );
        assert!(early.to_lowercase().contains("retry-after: 5"), "{early}");
        assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200 "));
        assert!(ask(address, "/console").await.starts_with("HTTP/1.1 503 "));
        over.cancel();
        serving.await.unwrap();

        let (nothing, told) = watch::channel(String::new());
        let serving = tokio::spawn(server.serve_start(told, CancellationToken::new()).unwrap());
        drop(nothing);
        serving.await.unwrap();
    }
}
