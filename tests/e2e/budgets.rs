//! What one agent may take from the others by holding open whatever can be held open.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream as StdUnixStream,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::{net::UnixStream, task::JoinSet};

use crate::support::{Agent, Daemon, Emulator, Memory, block_on, is_root, open_unix, wait_until};

const SEND: &str = "google.gmail.send";

/// A flood may make the daemon grow by this much at most, in KiB: it has to live in a container of 128 MiB.
const GROWTH: u64 = 48 * 1024;
/// So many connections of one agent, which may have one more …
const CONNECTIONS: usize = 255;
/// … with so many requests each, all at once.
const REQUESTS: usize = 80;
/// What a connection takes at once.
const PER_CONNECTION: usize = 64;
/// What an agent may hold open.
const STREAMS: usize = 64;

struct Scene {
    daemon: Daemon,
    greedy: Agent,
    other: Agent,
    _google: Emulator,
}

impl Scene {
    fn new() -> Self {
        Self::with_launcher(&[])
    }

    fn with_launcher(launcher: &[&str]) -> Self {
        let google = Emulator::start(&["--token-lifetime", "1h"]);
        let mut daemon = Daemon::new(&google);
        daemon.launcher = launcher.iter().map(ToString::to_string).collect();
        daemon.write_manifest("greedy", "alice", &[SEND]);
        daemon.write_manifest("other", "alice", &[SEND]);
        daemon.start();
        daemon.connect("alice", &[SEND]).expect_ok();
        let greedy = daemon.wait_for_state("greedy", "active");
        let other = daemon.wait_for_state("other", "active");
        Self {
            daemon,
            greedy,
            other,
            _google: google,
        }
    }

    /// The other agent has what it asks for, whatever the greedy one does.
    fn other_is_served(&self) {
        self.other.get("/v1/token").expect_ok();
        self.other.grpc().token().unwrap();
    }
}

/// What came of the requests.
#[derive(Default)]
struct Counts {
    held: AtomicUsize,
    refused: AtomicUsize,
}

impl Counts {
    fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

/// A request that is held open, and how much of an answer the client says that it will read.
#[derive(Clone, Copy)]
struct Held {
    path: &'static str,
    window: u32,
}

impl Held {
    fn is_grpc(self) -> bool {
        self.path.contains("tokenbroker") || self.path.contains("grpc.")
    }

    fn request(self) -> Request<Full<Bytes>> {
        let request = Request::builder().uri(format!("http://broker{}", self.path));
        let request = if self.is_grpc() {
            // The name of all services, where it is reflection; an empty message otherwise.
            let message: &[u8] = if self.path.contains("reflection") {
                &[0, 0, 0, 0, 2, 0x3a, 0]
            } else {
                &[0; 5]
            };
            let request = request.method("POST").header("content-type", "application/grpc");
            request
                .header("te", "trailers")
                .body(Full::new(Bytes::from_static(message)))
        } else {
            request.body(Full::default())
        };
        request.unwrap()
    }

    fn is_refused(self, answer: &Response<Incoming>) -> bool {
        if self.is_grpc() {
            // RESOURCE_EXHAUSTED
            return answer
                .headers()
                .get("grpc-status")
                .is_some_and(|code| code == "8");
        }
        answer.status() == 429
    }

    /// A connection on which one request was answered.
    async fn connect(self, socket: PathBuf, counts: &Counts) -> Holding {
        let stream = TokioIo::new(UnixStream::connect(socket).await.unwrap());
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(self.window)
            .handshake(stream)
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut holding = Holding {
            held: self,
            sender,
            answers: Vec::new(),
        };
        let first = holding.ask().await.unwrap();
        holding.keep(first, counts);
        holding
    }

    /// Asks on as many connections as an agent may have, until `done`, while the other agent is served. What is held goes
    /// with what is returned.
    fn flood(self, scene: &Scene, done: impl Fn(&Counts) -> bool) -> (JoinSet<()>, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        let mut flood = JoinSet::new();
        let connected: Vec<_> = (0..CONNECTIONS)
            .map(|_| block_on(self.connect(scene.greedy.socket(), &counts)))
            .collect();
        for holding in connected {
            let asking = holding.ask_on(Arc::clone(&counts));
            flood.spawn_on(asking, crate::support::runtime().handle());
        }
        wait_until("the flood to be at its height", || {
            scene.other_is_served();
            done(&counts)
        });
        (flood, counts)
    }
}

/// A connection, and answers that nobody reads.
struct Holding {
    held: Held,
    sender: SendRequest<Full<Bytes>>,
    answers: Vec<Response<Incoming>>,
}

impl Holding {
    fn ask(&self) -> impl Future<Output = Result<Response<Incoming>, hyper::Error>> + use<> {
        let (mut sender, request) = (self.sender.clone(), self.held.request());
        async move {
            sender.ready().await?;
            sender.send_request(request).await
        }
    }

    fn keep(&mut self, answer: Response<Incoming>, counts: &Counts) {
        let count = if self.held.is_refused(&answer) {
            &counts.refused
        } else {
            &counts.held
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.answers.push(answer);
    }

    /// Asks for the rest at once, and never lets go.
    async fn ask_on(mut self, counts: Arc<Counts>) {
        let mut asked: FuturesUnordered<_> = (1..REQUESTS).map(|_| self.ask()).collect();
        while let Some(answer) = asked.next().await {
            self.keep(answer.unwrap(), &counts);
        }
        std::future::pending::<()>().await;
    }
}

/// Lets go, and waits until the agent is served again.
fn let_go(scene: &Scene, flood: JoinSet<()>) {
    drop(flood);
    wait_until("the agent to be served again", || {
        let mut client = scene.greedy.grpc();
        let watched = block_on(
            client
                .0
                .watch_access_token(token_broker::proto::v1::WatchAccessTokenRequest::default()),
        );
        watched.is_ok()
    });
}

#[test]
fn an_agents_streams_are_few_and_cost_little() {
    let scene = Scene::new();
    let memory = Memory(scene.daemon.pid());
    scene.other_is_served();
    let token = scene.greedy.token().unwrap();
    for path in ["/tokenbroker.v1.TokenService/WatchAccessToken", "/v1/watch"] {
        memory.forget_peak();
        let before = memory.now();
        let held = Held {
            path,
            window: 64 * 1024,
        };
        let all = CONNECTIONS * REQUESTS;
        let (flood, counts) = held.flood(&scene, |counts| counts.held() + counts.refused() == all);
        assert_eq!(counts.held(), STREAMS, "{path}");
        let grown = memory.peak().saturating_sub(before);
        assert!(grown < GROWTH, "{path}: the daemon grew by {grown} KiB");
        let_go(&scene, flood);
    }
    // A copy that was not wiped stays in freed memory.
    if is_root() {
        let copies = memory.copies(&token);
        assert!(copies < 2 * CONNECTIONS, "{copies} copies of the token");
    }
    let log = scene.daemon.log();
    let lines = log.lines().filter(|line| line.contains("WARN")).count();
    assert!(lines < 10, "{log}");
}

#[test]
fn answers_that_nobody_reads_cost_little() {
    let scene = Scene::new();
    let memory = Memory(scene.daemon.pid());
    scene.other_is_served();
    for path in [
        "/v1/env",
        "/nothing-is-here",
        "/tokenbroker.v1.TokenService/GetAccessToken",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ] {
        memory.forget_peak();
        let before = memory.now();
        let held = Held { path, window: 0 };
        let (flood, counts) = held.flood(&scene, |counts| {
            counts.held() + counts.refused() >= CONNECTIONS * PER_CONNECTION
        });
        assert!(counts.held() <= 256, "{path}: {} are held", counts.held());
        let grown = memory.peak().saturating_sub(before);
        assert!(grown < GROWTH, "{path}: the daemon grew by {grown} KiB");
        let_go(&scene, flood);
    }
}

/// So many requests of an agent may wait for a token.
const WAITS: usize = 128;

#[test]
fn an_agents_requests_that_wait_for_the_provider_are_few() {
    let google = Emulator::start(&["--token-lifetime", "1h"]);
    let daemon = Daemon::new(&google);
    let both = [SEND, "google.calendar"];
    daemon.write_manifest("greedy", "alice", &both);
    daemon.write_manifest("other", "alice", &both);
    daemon.start();
    daemon.connect("alice", &both).expect_ok();
    let greedy = daemon.wait_for_state("greedy", "active");
    let other = daemon.wait_for_state("other", "active");
    google.fault(&json!({ "endpoint": "token", "grant_type": "refresh_token", "hold": true }));
    // Nobody has such a token yet.
    let path = format!("/v1/token?capability={SEND}");
    let socket = greedy.socket();
    block_on(async {
        let mut asked: FuturesUnordered<_> = (0..WAITS + 12).map(|_| open_unix(&socket, &path)).collect();
        for _ in 0..12 {
            assert_eq!(asked.next().await.unwrap().unwrap().status(), 429);
        }
        // Whoever waits for nothing is served, and another agent may wait as well.
        let served = open_unix(&socket, "/v1/token").await.unwrap();
        assert_eq!(served.status(), 200);
        let (socket, path) = (other.socket(), path.clone());
        let waiting = tokio::spawn(async move { open_unix(&socket, &path).await.unwrap().status() });
        tokio::task::spawn_blocking(move || google.clear_faults())
            .await
            .unwrap();
        // Whatever the provider says then: they had a place.
        assert_ne!(waiting.await.unwrap(), 429);
        while let Some(answer) = asked.next().await {
            assert_ne!(answer.unwrap().status(), 429);
        }
    });
}

/// Starts a program that may open 700 files.
const FEW_FILES: [&str; 4] = ["sh", "-c", "ulimit -n 700; exec \"$@\"", "sh"];

/// A connection that stays open once it was accepted, and waits in the kernel until then.
fn connection(agent: &Agent) -> StdUnixStream {
    let mut stream = StdUnixStream::connect(agent.socket()).unwrap();
    let asked = stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: broker\r\n\r\n");
    asked.unwrap();
    stream
}

fn connections(agent: &Agent) -> Vec<StdUnixStream> {
    (0..=CONNECTIONS).map(|_| connection(agent)).collect()
}

/// The descriptors that a daemon has open, once it opens no more.
fn descriptors(daemon: &Daemon) -> usize {
    let folder = format!("/proc/{}/fd", daemon.pid());
    let mut open = 0;
    wait_until("no further connection to be accepted", || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let now = std::fs::read_dir(&folder).unwrap().count();
        now == std::mem::replace(&mut open, now)
    });
    open
}

#[test]
fn agents_do_not_use_up_the_daemons_descriptors() {
    let scene = Scene::with_launcher(&FEW_FILES);
    let daemon = &scene.daemon;
    let mut greedy = vec![scene.greedy.clone()];
    for name in ["greedy-2", "greedy-3"] {
        daemon.write_manifest(name, "alice", &[SEND]);
        greedy.push(daemon.wait_for_state(name, "active"));
    }
    let held: Vec<_> = greedy.iter().map(connections).collect();
    // The rest waits in the kernel: nothing more is accepted from here on.
    descriptors(daemon);
    for _ in 0..10 {
        scene.other_is_served();
        assert_eq!(daemon.page("/healthz").status, 200);
        daemon.cli(&["status"]).expect_ok();
    }
    // Whoever comes now has a directory, a token and a socket.
    daemon.write_manifest("new", "alice", &[SEND]);
    daemon
        .wait_for_state("new", "active")
        .get("/v1/token")
        .expect_ok();
    assert!(!daemon.log().contains("could not accept"), "{}", daemon.log());
    drop(held);
}

/// There are fewer places than agents that ask for one: who has none costs nothing, and is answered later.
#[test]
fn a_connection_that_waits_for_a_place_costs_no_descriptor() {
    let scene = Scene::with_launcher(&FEW_FILES);
    let daemon = &scene.daemon;
    let names: Vec<String> = (0..60).map(|number| format!("quiet-{number}")).collect();
    for name in &names {
        daemon.write_manifest(name, "alice", &[SEND]);
    }
    let quiet: Vec<_> = names
        .iter()
        .map(|name| daemon.wait_for_state(name, "active"))
        .collect();
    let held: Vec<_> = [&scene.greedy, &scene.other, &quiet[0], &quiet[1]]
        .map(connections)
        .into();
    let before = descriptors(daemon);
    let mut asked: Vec<_> = quiet[2..].iter().map(connection).collect();
    let grown = descriptors(daemon) - before;
    assert!((1..asked.len() / 2).contains(&grown), "{grown}");
    drop(held);
    for stream in &mut asked {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
}

#[test]
fn a_limit_that_is_too_low_is_refused_with_a_sentence() {
    let google = Emulator::start(&[]);
    let mut daemon = Daemon::new(&google);
    let launcher = ["sh", "-c", "ulimit -n 300; exec \"$@\"", "sh"];
    daemon.launcher = launcher.map(str::to_owned).to_vec();
    let refused = daemon.try_start().unwrap_err();
    assert_eq!(refused.code, 7);
    assert!(refused.stderr.contains("LimitNOFILE"), "{}", refused.stderr);
    daemon.launcher = FEW_FILES.map(str::to_owned).to_vec();
    daemon.start();
    assert!(daemon.log().contains("may open 700 files"), "{}", daemon.log());
}

/// A daemon that is stopped (as one that hangs) accepts nothing, while the kernel takes connections for it.
#[test]
fn no_command_waits_for_ever_for_a_daemon_that_hangs() {
    let scene = Scene::new();
    let daemon = &scene.daemon;
    daemon.signal(rustix::process::Signal::STOP);
    for command in [["status"].as_slice(), &["agents", "list"], &["audit", "verify"]] {
        let output = daemon.cli(command);
        assert_eq!(output.code, 3, "{output:?}");
        assert!(output.stderr.contains("does not answer"), "{output:?}");
    }
    daemon.signal(rustix::process::Signal::CONT);
    daemon.cli(&["status"]).expect_ok();
}
