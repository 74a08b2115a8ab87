//! One connection over TLS on which HTTP/2 is spoken, and why there is none.

use std::{io, sync::Arc};

use rustls::{AlertDescription, ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::Url;

use super::error::certificate_reason;

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NoTls {
    /// Nobody takes it.
    Unreachable(io::Error),
    /// No certificate can have the server's name.
    Name,
    /// The server's certificate is not accepted, for this reason.
    Certificate(String),
    /// The server ended the handshake, with this alert.
    Alert(AlertDescription),
    /// The handshake broke otherwise.
    Handshake(io::Error),
    /// The server speaks something else than HTTP/2.
    OtherProtocol,
}

impl From<io::Error> for NoTls {
    /// What went wrong on a connection that stood.
    fn from(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(rustls::Error::InvalidCertificate(reason)) => Self::Certificate(certificate_reason(reason)),
            Some(rustls::Error::AlertReceived(alert)) => Self::Alert(*alert),
            _ => Self::Handshake(error),
        }
    }
}

/// Connects to where `url` says.
///
/// # Errors
/// Why there is no connection.
pub(crate) async fn connect(url: &Url, mut config: ClientConfig) -> Result<TlsStream<TcpStream>, NoTls> {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().unwrap_or_default();
    let tcp = TcpStream::connect((bare, port))
        .await
        .map_err(NoTls::Unreachable)?;
    let _ = tcp.set_nodelay(true);
    let name = ServerName::try_from(bare.to_owned()).map_err(|_| NoTls::Name)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        Ok(stream)
    } else {
        Err(NoTls::OtherProtocol)
    }
}
