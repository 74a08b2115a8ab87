//! `AdminService` over TLS: who is let in, what each client may call, and what an owner's client finds.

mod commands;
mod connections;
mod owners;
mod roles;

use std::{io, sync::Arc};

use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::support::{Admin, Authority, Daemon, Emulator, Signed, block_on};

const OPERATOR: &str = "spiffe://corp.example/operator";
const PLATFORM: &str = "spiffe://corp.example/orchestrator";
const VIEWER: &str = "viewer.corp.example";
const ALICE: &str = "spiffe://corp.example/alice";

/// The list that most scenes have.
const CLIENTS: &[(&str, &str)] = &[
    (OPERATOR, "role = 'operator'"),
    (PLATFORM, "role = 'platform'"),
    (VIEWER, "role = 'viewer'"),
    (ALICE, "owner = 'alice'"),
];

/// A daemon that serves `AdminService` over TLS.
struct Scene {
    _google: Emulator,
    daemon: Daemon,
    authority: Authority,
}

impl Scene {
    fn start() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[(&str, &str)]) -> Self {
        let google = Emulator::start(&[]);
        let authority = Authority::new();
        let daemon = Daemon::with_remote_admin(&google, &authority, settings);
        daemon.list_clients(CLIENTS);
        daemon.start();
        Self {
            _google: google,
            daemon,
            authority,
        }
    }

    /// A client with this certificate, or without one.
    fn try_client(&self, signed: Option<&Signed>) -> Result<Channel, String> {
        dial(self.daemon.admin_port(), &self.authority.pem, signed)
    }

    /// A client that is let in.
    fn channel(&self, names: &[&str]) -> Channel {
        self.try_client(Some(&self.authority.client(names))).unwrap()
    }

    fn client(&self, name: &str) -> Admin {
        Admin::new(self.channel(&[name]))
    }
}

/// A connection over TLS on which the server has said a first word, or why there is none.
fn dial(port: u16, authority: &str, signed: Option<&Signed>) -> Result<Channel, String> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match signed {
        Some(signed) => {
            let chain = vec![CertificateDer::from_pem_slice(signed.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    block_on(async {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
        let mut stream = stream.map_err(|error| error.to_string())?;
        let first = tokio::io::AsyncBufReadExt::fill_buf(&mut stream).await;
        if first.map_err(|error| error.to_string())?.is_empty() {
            return Err("the connection ended".to_owned());
        }
        let mut stream = Some(TokioIo::new(stream));
        let connector = tower::service_fn(move |_: Uri| {
            std::future::ready(stream.take().ok_or(io::Error::from(io::ErrorKind::NotConnected)))
        });
        let endpoint = Endpoint::from_static("http://broker");
        let channel = endpoint.connect_with_connector(connector).await;
        channel.map_err(|error| error.to_string())
    })
}
