//! A broker that serves nodes, and a client that speaks as one.

use std::{fs, io, net::TcpListener, path::PathBuf, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use token_broker::proto::v1::{
    AgentView, KnownView, Resume, SyncRequest, SyncResponse, node_service_client::NodeServiceClient,
    sync_request, sync_response::Message,
};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint, Uri},
};

use crate::support::{Authority, Daemon, Emulator, Signed, block_on, manifest};

pub(crate) const SEND: &str = "google.gmail.send";
/// The node of most scenes.
pub(crate) const SEVEN: &str = "spiffe://corp.example/node/7";

/// A broker with an authority of nodes.
pub(crate) struct Broker {
    pub(crate) google: Emulator,
    pub(crate) daemon: Daemon,
    pub(crate) authority: Authority,
    pub(crate) port: u16,
}

impl Broker {
    /// With alice's account connected, and no agent.
    pub(crate) fn start(lifetime: &str) -> Self {
        let google = Emulator::start(&["--token-lifetime", lifetime]);
        let authority = Authority::new();
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let daemon = Daemon::with(
            &google,
            &[
                ("remote.listen", &listen),
                ("remote.certificate_file", "remote-tls/tls.crt"),
                ("remote.key_file", "remote-tls/tls.key"),
                ("remote.client_ca_file", "remote-tls/ca.crt"),
            ],
        );
        let folder = daemon.config_dir().join("remote-tls");
        fs::create_dir(&folder).unwrap();
        authority.server().put(&folder, "tls");
        fs::write(folder.join("ca.crt"), &authority.pem).unwrap();
        daemon.start();
        daemon.connect("alice", &[SEND]).expect_ok();
        Self {
            google,
            daemon,
            authority,
            port,
        }
    }

    /// The authorities of nodes.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.daemon.config_dir().join("remote-tls/ca.crt")
    }

    /// Gives an agent of alice's to these nodes.
    pub(crate) fn give(&self, agent: &str, nodes: &[&str]) {
        let nodes = format!("nodes: [{}]\n", nodes.join(", "));
        self.daemon
            .put_file(agent, &(manifest(agent, "alice", &[SEND]) + &nodes));
    }

    /// The same, and waits for its token.
    pub(crate) fn give_active(&self, agent: &str, nodes: &[&str]) {
        self.give(agent, nodes);
        self.daemon.wait_for_state(agent, "active");
    }

    /// A node with this name that is let in.
    pub(crate) fn node(&self, name: &str) -> Node {
        Node::with(self, &self.authority.client(&[name])).unwrap()
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A connection of a node's.
pub(crate) struct Node(Channel);

impl Node {
    pub(crate) fn with(broker: &Broker, signed: &Signed) -> Result<Self, String> {
        block_on(async {
            let mut stream = Some(TokioIo::new(dial(broker, Some(signed)).await?));
            let connector = tower::service_fn(move |_: Uri| {
                std::future::ready(stream.take().ok_or(io::Error::from(io::ErrorKind::NotConnected)))
            });
            let endpoint = Endpoint::from_static("http://broker");
            let channel = endpoint.connect_with_connector(connector).await;
            channel.map(Self).map_err(|error| error.to_string())
        })
    }

    /// A stream on which the node has said this first.
    pub(crate) fn say(&self, first: Option<sync_request::Message>) -> Result<Told, Status> {
        let (says, said) = mpsc::channel(4);
        says.try_send(SyncRequest { message: first }).unwrap();
        let mut client = NodeServiceClient::new(self.0.clone());
        let answer = block_on(client.sync(ReceiverStream::new(said)))?;
        Ok(Told {
            stream: answer.into_inner(),
            _says: says,
        })
    }

    /// A stream of a node that has these views.
    pub(crate) fn resume(&self, known: &[(&str, &[u8])]) -> Told {
        let known = known.iter().map(|(agent, revision)| KnownView {
            agent: (*agent).to_owned(),
            revision: revision.to_vec(),
        });
        let resume = Resume {
            known: known.collect(),
        };
        self.say(Some(sync_request::Message::Resume(resume))).unwrap()
    }
}

/// What a node is told.
pub(crate) struct Told {
    stream: Streaming<SyncResponse>,
    _says: mpsc::Sender<SyncRequest>,
}

impl Told {
    /// The next message that is no heartbeat.
    pub(crate) fn next(&mut self) -> Result<Message, Status> {
        loop {
            let message = block_on(self.stream.message())?;
            match message.expect("the stream goes on").message.unwrap() {
                Message::Heartbeat(_) => {}
                message => return Ok(message),
            }
        }
    }

    /// Whatever is told until everything is: the agents that are the node's, and the views.
    pub(crate) fn settled(&mut self) -> (Vec<String>, Vec<AgentView>) {
        let Message::Assignment(assignment) = self.next().unwrap() else {
            panic!("the first message tells which agents there are");
        };
        let mut views = Vec::new();
        loop {
            match self.next().unwrap() {
                Message::View(view) => views.push(view),
                Message::Settled(_) => return (assignment.agents, views),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next view that fits.
    pub(crate) fn view(&mut self, fits: impl Fn(&AgentView) -> bool) -> AgentView {
        loop {
            match self.next().unwrap() {
                Message::View(view) if fits(&view) => return view,
                Message::View(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next agent that is taken away, and why.
    pub(crate) fn withdrawn(&mut self) -> (String, String) {
        loop {
            match self.next().unwrap() {
                Message::Withdrawal(gone) => return (gone.agent, gone.code),
                Message::View(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// The token in a view.
pub(crate) fn token(view: &AgentView) -> Option<&str> {
    Some(&*view.credentials.first()?.token.as_ref()?.access_token)
}

/// A connection over TLS.
async fn dial(broker: &Broker, signed: Option<&Signed>) -> Result<TlsStream<TcpStream>, String> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(broker.authority.pem.as_bytes()).unwrap();
    roots.add(authority).unwrap();
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
    let tcp = TcpStream::connect(("127.0.0.1", broker.port)).await;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, tcp.unwrap())
        .await;
    let mut stream = stream.map_err(|error| error.to_string())?;
    let first = tokio::io::AsyncBufReadExt::fill_buf(&mut stream).await;
    if first.map_err(|error| error.to_string())?.is_empty() {
        return Err("the connection ended".to_owned());
    }
    Ok(stream)
}

/// Why nobody is let in with this certificate, or without one.
pub(crate) fn not_let_in(broker: &Broker, signed: Option<&Signed>) -> String {
    block_on(dial(broker, signed)).err().unwrap()
}

/// An agent's request that a node sends on: the status, and the body.
pub(crate) fn forwarded(
    broker: &Broker,
    node: &str,
    agent: Option<&str>,
    path: &str,
) -> (u16, serde_json::Value) {
    let signed = broker.authority.client(&[node]);
    block_on(async {
        let stream = TokioIo::new(dial(broker, Some(&signed)).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut request = http::Request::get(format!("https://localhost{path}"));
        if let Some(agent) = agent {
            request = request.header("token-broker-agent", agent);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    })
}
