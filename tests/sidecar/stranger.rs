//! A client of `remote.listen` that is no sidecar: it opens what it likes.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::remote::Remote;

/// Where connections go, and how.
#[derive(Clone)]
pub(crate) struct Target {
    port: u16,
    tls: TlsConnector,
}

impl Target {
    pub(crate) fn of(remote: &Remote) -> Self {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(remote.certificate.file("ca.crt")).unwrap();
        roots.add(authority).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            port: remote.port,
            tls: Arc::new(config).into(),
        }
    }

    /// A connection from that address on which nothing is said.
    pub(crate) async fn silent(&self, from: &str) -> io::Result<TcpStream> {
        let from: IpAddr = from.parse().unwrap();
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        socket.connect(([127, 0, 0, 1], self.port).into()).await
    }

    /// A connection from that address.
    pub(crate) async fn connect(&self, from: &str) -> io::Result<Client> {
        let stream = self.silent(from).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TokioIo::new(self.tls.connect(name, stream).await?);
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(Client(sender))
    }
}

/// One connection.
#[derive(Clone)]
pub(crate) struct Client(SendRequest<Empty<Bytes>>);

impl Client {
    /// Asks for something of the invoice bot's with this token.
    pub(crate) async fn get(&mut self, path: &str, token: &str) -> Result<Response<Incoming>, hyper::Error> {
        self.0.ready().await?;
        let request = Request::get(format!("https://localhost{path}"))
            .header("token-broker-agent", "invoice-bot")
            .header("authorization", format!("Bearer {token}"))
            .body(Empty::new())
            .unwrap();
        self.0.send_request(request).await
    }
}
