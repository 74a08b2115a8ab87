//! The daemon's admin API on another machine, over TLS and with a certificate.

use std::{io, path::PathBuf, sync::Arc};

use rustls::{AlertDescription, ClientConfig, sign::SingleCertAndKey};
use tokio::{
    io::AsyncBufReadExt,
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::client::TlsStream;
use tonic::transport::{Endpoint, Uri};
use url::Url;

use super::{
    admin::{self, Admin, NO_ADDRESS},
    deadline::{Deadlines, FIRST_ANSWER},
    exit::{Exit, Failure},
};
use crate::{
    http_client::{
        authorities::Authorities,
        own_certificate::OwnCertificate,
        tls_connect::{self, NoTls},
    },
    proto::v1::admin_service_client::AdminServiceClient,
    text::ShowPath,
};

/// A broker on another machine, and what this client shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Where its `admin.listen` is.
    pub(crate) url: Url,
    /// This client's certificate and those between it and its authority, in PEM.
    pub(crate) certificate: PathBuf,
    /// Its private key, in PEM.
    pub(crate) key: PathBuf,
    /// The authorities of the broker's certificate; the system's unless given.
    pub(crate) ca: Option<PathBuf>,
}

/// Connects to a broker, which takes this client's certificate and answers.
///
/// # Errors
/// What is wrong and what to do.
pub(crate) async fn open(server: &Server) -> Result<Admin, Failure> {
    let config = server.config().await?;
    let end = Instant::now() + FIRST_ANSWER;
    let silent = |_| server.unreachable(format!("it did not answer within {} s", FIRST_ANSWER.as_secs()));
    let stream = timeout_at(end, connect(&server.url, config))
        .await
        .map_err(silent)?;
    let stream = stream.map_err(|fault| server.not_connected(fault))?;
    let origin = Uri::try_from(server.url.as_str()).map_err(|_| server.unreachable("its address is none"))?;
    let endpoint = Endpoint::from_static(NO_ADDRESS).origin(origin);
    let channel = timeout_at(end, admin::channel(stream, endpoint))
        .await
        .map_err(silent)?;
    let channel = channel.map_err(|_| {
        server.unreachable("it ended the connection before it answered: look at its log, and try again")
    })?;
    Ok(AdminServiceClient::new(Deadlines(channel)))
}

/// A connection that the broker lets this client have. It looks at the client's certificate when the handshake is over for
/// the client, so that its first word is waited for.
async fn connect(url: &Url, config: ClientConfig) -> Result<TlsStream<TcpStream>, NoTls> {
    let mut stream = tls_connect::connect(url, config).await?;
    if stream.fill_buf().await?.is_empty() {
        return Err(NoTls::Handshake(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(stream)
}

impl Server {
    /// What a handshake is made with.
    async fn config(&self) -> Result<ClientConfig, Failure> {
        let authorities = match &self.ca {
            Some(file) => Authorities::in_file(file),
            None => Authorities::from_environment(|name| std::env::var(name).ok()),
        };
        let trusted = authorities.current().await.map_err(|reason| {
            Failure::misconfigured(match &self.ca {
                Some(_) => format!("--ca: {reason}"),
                None => format!(
                    "this system trusts no certificate authority ({reason}): name the broker's with --ca"
                ),
            })
        })?;
        let mut config = ClientConfig::clone(&trusted);
        config.client_auth_cert_resolver = Arc::new(self.own_certificate()?);
        Ok(config)
    }

    fn own_certificate(&self) -> Result<SingleCertAndKey, Failure> {
        let own = OwnCertificate {
            certificate: ("--certificate", self.certificate.clone()),
            key: ("--certificate-key", self.key.clone()),
        };
        own.read().map_err(Failure::misconfigured)
    }

    fn not_connected(&self, fault: NoTls) -> Failure {
        let own = self.certificate.shown();
        let refused = |why: &str| format!("it does not accept the certificate {own}: {why}");
        self.unreachable(match fault {
            NoTls::Unreachable(error) => {
                format!("{error}. See whether it runs, and whether admin.listen is in its configuration")
            }
            NoTls::Name => "no certificate can have its name".to_owned(),
            NoTls::Certificate(reason) => {
                let trusted = match &self.ca {
                    Some(file) => format!("the authorities in {} (--ca)", file.shown()),
                    None => "the system's authorities (--ca names others)".to_owned(),
                };
                format!("its certificate is not accepted by {trusted}: {reason}")
            }
            // The latter where an authority of the same name has another key.
            NoTls::Alert(AlertDescription::UnknownCA | AlertDescription::DecryptError) => {
                refused("no authority in admin.client_ca_file of its configuration has signed it")
            }
            NoTls::Alert(AlertDescription::CertificateExpired) => {
                refused("it has ended, or begins later by the broker's clock")
            }
            NoTls::Alert(AlertDescription::CertificateRequired) => "it asks for a certificate".to_owned(),
            NoTls::Alert(AlertDescription::UnsupportedCertificate) => refused("it is not made for clients"),
            NoTls::Alert(AlertDescription::NoApplicationProtocol) | NoTls::OtherProtocol => {
                "it does not speak HTTP/2: is it a broker's `admin.listen`?".to_owned()
            }
            NoTls::Alert(alert) => refused(&rustls::Error::AlertReceived(alert).to_string()),
            NoTls::Handshake(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                "it ended the connection before it answered: it stops at the moment, or has as many connections as it may, \
                 or is no broker"
                    .to_owned()
            }
            NoTls::Handshake(error) => format!("no TLS connection stands: {error}"),
        })
    }

    fn unreachable(&self, why: impl AsRef<str>) -> Failure {
        // Without the slash that every such URL ends with.
        let url = self.url.as_str().trim_end_matches('/');
        Failure::new(
            Exit::Unreachable,
            format!("the broker at {url} cannot be used: {}", why.as_ref()),
        )
    }
}
