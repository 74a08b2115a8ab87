//! An agent is given to another holder: whatever the one before had ends before the new one is told anything.

use std::{
    fs::File,
    io::BufReader,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use token_broker::proto::v1::{
    AgentSpec, PodIdentity, PutAgentRequest, Requirement, WatchAccessTokenRequest,
    token_service_client::TokenServiceClient, watch_access_token_response::Event,
};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::TlsConnector;

use crate::{
    remote::{Remote, SEND},
    support::{AGENT_UID, Admin, Agent, CredentialFile, Daemon, block_on, is_root, open_unix, wait_for},
};

/// How often the owner is exchanged under open streams.
const ROUNDS: usize = 1000;

/// Two owners with their accounts, and everything by which an agent's token is had.
struct Scene {
    remote: Remote,
    tls: TlsConnector,
}

impl Scene {
    fn new() -> Self {
        let remote = Remote::unconnected_with("1h", &[("adc.listen", "127.0.0.1:0")]);
        let daemon = &remote.daemon;
        for owner in ["alice", "bob"] {
            let account = format!("{owner}@example.com");
            daemon.connect_as(owner, &account, &[SEND]).expect_ok();
            daemon.write_manifest(&format!("of-{owner}"), owner, &[SEND]);
        }
        for owner in ["alice", "bob"] {
            daemon.wait_for_state(&format!("of-{owner}"), "active");
        }
        let mut roots = RootCertStore::empty();
        let file = BufReader::new(File::open(remote.certificate.file("ca.crt")).unwrap());
        for authority in CertificateDer::pem_reader_iter(file) {
            roots.add(authority.unwrap()).unwrap();
        }
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            remote,
            tls: TlsConnector::from(Arc::new(config)),
        }
    }

    fn daemon(&self) -> &Daemon {
        &self.remote.daemon
    }

    /// The owner's token, which all agents of that owner's have.
    fn token_of(&self, owner: &str) -> String {
        self.daemon().wait_for_token(&format!("of-{owner}"), None)
    }

    fn bot(&self) -> Agent {
        self.daemon().agent("bot")
    }

    /// Waits until the bot has this token in each of its files, and its secret.
    fn wait_for_bot(&self, token: &str) -> CredentialFile {
        let bot = self.bot();
        wait_for("the bot to have its owner's token", || {
            let file = bot.credential_file()?;
            let whole = bot.token().as_deref() == Some(token) && bot.try_get("/v1/token").is_ok();
            (whole && file.refresh().status == 200).then_some(file)
        })
    }

    /// Opens all streams that the bot may have, and reads each until it ends.
    fn open_streams(&self) -> Vec<Stream> {
        let bot = self.bot();
        let pod = self.remote.token("billing", "invoice-bot");
        let port = self.remote.port;
        let (socket, tls) = (bot.socket(), self.tls.clone());
        block_on(async move {
            vec![
                sse(&socket).await,
                grpc(&socket).await,
                remote(tls, port, &pod).await,
            ]
        })
    }
}

/// A stream of an agent's: all tokens that came by it until its end.
struct Stream {
    name: &'static str,
    reading: JoinHandle<Vec<String>>,
}

impl Stream {
    /// The tokens, once the stream has ended.
    fn tokens(self) -> Vec<String> {
        block_on(self.reading).unwrap()
    }
}

async fn sse(socket: &std::path::Path) -> Stream {
    let answer = open_unix(socket, "/v1/watch").await.unwrap();
    assert_eq!(answer.status(), 200);
    events("/v1/watch", answer.into_body()).await
}

/// Reads server-sent events; the first is awaited here.
async fn events(name: &'static str, mut body: hyper::body::Incoming) -> Stream {
    let first = body.frame().await.unwrap().unwrap();
    let mut text = String::from_utf8(first.into_data().unwrap().to_vec()).unwrap();
    let reading = tokio::spawn(async move {
        // A second token says it all, whether the stream ends or not.
        while text.matches("access_token").count() < 2
            && let Some(Ok(frame)) = body.frame().await
        {
            text.push_str(std::str::from_utf8(&frame.into_data().unwrap_or_default()).unwrap());
        }
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter_map(|data| {
            let event: Value = serde_json::from_str(data).unwrap();
            Some(event["access_token"].as_str()?.to_owned())
        })
        .collect()
    });
    Stream { name, reading }
}

async fn grpc(socket: &std::path::Path) -> Stream {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_: tonic::transport::Uri| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(tokio::net::UnixStream::connect(socket).await?)) }
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://broker");
    let channel = endpoint.connect_with_connector(connector).await.unwrap();
    let mut client = TokenServiceClient::new(channel);
    let watching = client
        .watch_access_token(WatchAccessTokenRequest::default())
        .await;
    let mut changes = watching.unwrap().into_inner();
    let mut next = changes.message().await.unwrap();
    let reading = tokio::spawn(async move {
        let mut tokens = Vec::new();
        while tokens.len() < 2
            && let Some(change) = next
        {
            if let Some(Event::Token(token)) = change.event {
                tokens.push(token.access_token.clone());
            }
            next = changes.message().await.unwrap_or_default();
        }
        tokens
    });
    Stream {
        name: "WatchAccessToken",
        reading,
    }
}

/// `/v1/watch` over TLS, as a pod's sidecar has it open.
async fn remote(tls: TlsConnector, port: u16, pod: &str) -> Stream {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TokioIo::new(tls.connect(name, stream).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("https://localhost:{port}/v1/watch"))
        .header("token-broker-agent", "bot")
        .header(header::AUTHORIZATION, format!("Bearer {pod}"))
        .body(Empty::<Bytes>::new())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    events("[remote]", answer.into_body()).await
}

/// The bot of this owner, for pods that run as `billing/invoice-bot`.
fn spec(owner: &str) -> AgentSpec {
    AgentSpec {
        agent: "bot".to_owned(),
        owner: owner.to_owned(),
        uid: is_root().then_some(AGENT_UID),
        gid: None,
        integrations: vec![Requirement {
            key: SEND.to_owned(),
            ..Requirement::default()
        }],
        account: String::new(),
        service_account: String::new(),
        accounts: std::collections::HashMap::new(),
        kubernetes: Some(PodIdentity {
            namespace: "billing".to_owned(),
            service_account: "invoice-bot".to_owned(),
        }),
        nodes: Vec::new(),
    }
}

fn put(admin: &mut Admin, spec: AgentSpec) {
    let request = PutAgentRequest { spec: Some(spec) };
    block_on(admin.put_agent(request)).unwrap();
}

/// Asks the token endpoint with one secret for as long as it is told to, and looks at `env` before each question.
struct Refreshing {
    stop: Arc<AtomicBool>,
    asking: std::thread::JoinHandle<Vec<String>>,
}

impl Refreshing {
    fn start(file: CredentialFile, env: PathBuf, other: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let asking = std::thread::spawn(move || {
            let mut tokens = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let published = std::fs::read_to_string(&env).is_ok_and(|env| env.contains(&other));
                let answer = file.refresh();
                if answer.status != 200 {
                    continue;
                }
                let token = answer.json()["access_token"].as_str().unwrap().to_owned();
                assert!(!published, "the old secret outlives the new holder's first token");
                tokens.push(token);
            }
            tokens
        });
        Self { stop, asking }
    }

    fn tokens(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.join().unwrap()
    }
}

#[test]
fn nothing_that_the_old_holder_has_open_ever_gives_the_new_owners_token() {
    let scene = Scene::new();
    let tokens = ["alice", "bob"].map(|owner| scene.token_of(owner));
    assert_ne!(tokens[0], tokens[1]);
    let mut admin = scene.daemon().admin();
    put(&mut admin, spec("alice"));
    for round in 0..ROUNDS {
        let (own, other) = (&tokens[round % 2], &tokens[(round + 1) % 2]);
        let file = scene.wait_for_bot(own);
        let streams = scene.open_streams();
        let secret = file.get("client_secret").to_owned();
        let refreshing = Refreshing::start(file, scene.bot().path("env"), other.clone());
        put(&mut admin, spec(["bob", "alice"][round % 2]));
        for stream in streams {
            let name = stream.name;
            let came = stream.tokens();
            assert!(came.contains(own), "round {round}: {name} gave nothing");
            assert!(
                !came.contains(other),
                "round {round}: {name} gave the new owner's token"
            );
        }
        let file = scene.wait_for_bot(other);
        assert!(
            !refreshing.tokens().contains(other),
            "round {round}: adc.json's old secret"
        );
        assert_ne!(file.get("client_secret"), secret, "round {round}");
        let stale = file.post("bot", &secret, "grant_type=refresh_token&refresh_token=bot");
        assert_eq!(stale.status, 401, "round {round}");
    }
}
