//! One account that a thousand agents use is withdrawn: until the token is gone from every env file, from every
//! socket and from every stream.
//!
//! Google announces that the account is disabled and, after the measurement, that it is enabled again; at the end the
//! operator disconnects it. Each agent has a stream of events open all the time.

use std::{
    fs,
    time::{Duration, Instant},
};

use google_emulator::SecurityEvent;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use token_broker::{
    broker::{AccountRef, AgentState, Revocation},
    telemetry::audit::Actor,
};
use tokio::{net::UnixStream, sync::watch};

use crate::{
    asking::Asker,
    daemon::{self, Daemon},
    folder::{Population, account},
    google::Google,
    report::{Target, judged, load, note, quantile, spread},
    scale,
};

/// In milliseconds.
const LIMIT: Target = Target::AtMost(1000.0);
const TOO_LONG: Duration = Duration::from_secs(60);

pub(crate) fn run() {
    let population = Population {
        accounts: 1,
        agents: scale(1000, 20),
    };
    let clock = daemon::clock();
    let google = Google::start(std::sync::Arc::new(clock.clone()));
    let daemon = Daemon::start(clock.clone(), &google, population);
    let url = format!("http://{}/risc", daemon.http_address());
    google.handle.set_risc_receiver(Some(&url)).expect("a receiver");
    let streams = Streams::open(&daemon);
    streams.wait(Seen::Token, population.agents, Instant::now());

    let (mut announced, mut answered) = (Vec::new(), Vec::new());
    for _ in 0..scale(10, 2) {
        // An event is from the second in which it is made, which must not be that of the connection.
        clock.advance(Duration::from_secs(1));
        let began = Instant::now();
        announce(&daemon, &google, "account-disabled");
        answered.push(millis(began));
        announced.push(until_gone(&daemon, &streams, population.agents, began));
        announce(&daemon, &google, "account-enabled");
        streams.wait(Seen::Token, population.agents, Instant::now());
        until_back(&daemon);
    }
    show("announced by Google (ms)", &mut announced);
    note("… of these until Google had its answer", spread(&mut answered, 1));

    let began = Instant::now();
    let broker = daemon.broker().clone();
    let which = AccountRef::Owner {
        owner: daemon.handles[0].snapshot().manifest.owner.clone(),
        account: None,
    };
    let disconnecting = daemon.runtime.spawn(async move {
        broker
            .disconnect
            .disconnect(&which, Revocation::WhenLast, Actor::Admin(0))
            .await
    });
    let mut disconnected = vec![until_gone(&daemon, &streams, population.agents, began)];
    let done = daemon.runtime.block_on(disconnecting).expect("it does not panic");
    assert!(
        done.is_ok_and(|done| done.problems.is_empty()),
        "it is disconnected"
    );
    show("disconnected by the operator (ms)", &mut disconnected);
    note("load average", load());
}

fn show(name: &str, times: &mut [f64]) {
    let worst = quantile(times, 1.0);
    let shown = format!("{}   worst {worst:.0}", spread(times, 0));
    judged(name, worst, shown, LIMIT);
}

fn announce(daemon: &Daemon, google: &Google, event: &str) {
    let handle = google.handle.clone();
    let event = SecurityEvent {
        event: event.to_owned(),
        account: Some(account(0)),
        ..SecurityEvent::default()
    };
    let pushed = daemon.runtime.block_on(async { handle.announce(&event).await });
    let pushed = pushed
        .map_err(|error| error.to_string())
        .expect("it is announced");
    assert_eq!(pushed.status, Some(202), "{}", pushed.body);
}

/// Until no env file, no socket and no stream has the token any more, in milliseconds.
fn until_gone(daemon: &Daemon, streams: &Streams, agents: usize, began: Instant) -> f64 {
    for number in 0..agents {
        let env = daemon.folder.agent(number).join("env");
        while fs::read_to_string(&env).is_ok_and(|env| env.contains("ACCESS_TOKEN")) {
            assert!(
                began.elapsed() < TOO_LONG,
                "{} still has its token",
                env.display()
            );
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    streams.wait(Seen::Withdrawn, agents, began);
    let all = millis(began);
    for number in (0..agents).step_by(50) {
        let mut asker = Asker::connect(&daemon.folder.agent(number), "/v1/token");
        let answer = asker.ask();
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
    all.max(millis(began))
}

/// Waits until every agent has a token in its file.
fn until_back(daemon: &Daemon) {
    daemon.runtime.block_on(async {
        for agent in &daemon.handles {
            agent.delivered(agent.revision()).await;
            assert_eq!(agent.snapshot().state, AgentState::Active);
        }
    });
}

fn millis(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

/// What a stream has seen last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    Token,
    Withdrawn,
}

/// One stream of events per agent.
struct Streams(watch::Receiver<Vec<Seen>>);

impl Streams {
    fn open(daemon: &Daemon) -> Self {
        let agents = daemon.handles.len();
        let (seen, watched) = watch::channel(vec![Seen::Nothing; agents]);
        for number in 0..agents {
            let (socket, seen) = (daemon.folder.agent(number).join("broker.sock"), seen.clone());
            daemon.runtime.spawn(async move {
                let mut body = open(&socket).await;
                while let Some(Ok(frame)) = body.frame().await {
                    let Ok(data) = frame.into_data() else { continue };
                    // The daemon writes each event as a whole.
                    let text = String::from_utf8_lossy(&data);
                    let last = if text.contains("\"access_token\"") {
                        Seen::Token
                    } else if text.contains("\"revoked\"") || text.contains("\"not_connected\"") {
                        Seen::Withdrawn
                    } else {
                        continue;
                    };
                    seen.send_modify(|all| all[number] = last);
                }
            });
        }
        Self(watched)
    }

    /// Waits until all of them have seen `what`.
    fn wait(&self, what: Seen, agents: usize, began: Instant) {
        while self.0.borrow().iter().filter(|seen| **seen == what).count() < agents {
            assert!(began.elapsed() < TOO_LONG, "a stream has not seen it");
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

async fn open(socket: &std::path::Path) -> Incoming {
    let stream = UnixStream::connect(socket).await.expect("the socket answers");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("HTTP");
    tokio::spawn(connection);
    let request = Request::get("/v1/watch")
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())
        .expect("a request");
    sender.send_request(request).await.expect("a stream").into_body()
}
