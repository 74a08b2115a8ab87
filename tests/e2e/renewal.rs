//! Tokens are renewed under readers that never stop reading.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use jiff::Timestamp;
use token_broker::{
    clock::{Clock, SystemClock},
    proto::v1::watch_access_token_response::Event,
};

use crate::support::{Agent, Daemon, Emulator, block_on};

const SEND: &str = "google.gmail.send";
const RENEWALS: usize = 20;

#[test]
fn readers_never_see_a_torn_an_empty_or_an_expired_token() {
    // Renewed when 4 to 6 s are left: so much may a busy machine delay it.
    let google = Arc::new(Emulator::start(&["--token-lifetime", "10s"]));
    let daemon = Daemon::new(&google);
    daemon.write_manifest("invoice-bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    let agent = daemon.wait_for_state("invoice-bot", "active");

    let stop = Arc::new(AtomicBool::new(false));
    let files = Reader::start(&stop, {
        let agent = agent.clone();
        let mut tokens = Vec::new();
        move || {
            let token = whole_env(&agent);
            if tokens.last() != Some(&token) {
                assert!(!tokens.contains(&token), "an old token came back");
                tokens.push(token);
            }
        }
    });
    let bare = Reader::start(&stop, {
        let agent = agent.clone();
        move || {
            let token = agent.read("access_token");
            assert!(
                token.starts_with("ya29.") && !token.ends_with('\n'),
                "torn: {token:?}"
            );
        }
    });
    let askers = Reader::start(&stop, {
        let (agent, google) = (agent.clone(), google.clone());
        move || {
            let answer = agent.get("/v1/token").expect_ok().json();
            assert!(answer["expires_in"].as_i64().unwrap() > 0, "expired: {answer}");
            let token = answer["access_token"].as_str().unwrap();
            let called = google.call("/gmail/v1/users/me/profile", token);
            assert_ne!(called.status, 401, "an expired token was handed out: {answer}");
        }
    });

    // The same is told, once and in order, to those who watch.
    let mut events = agent.watch();
    let mut grpc = agent.grpc();
    let mut stream = grpc.watch();
    let (mut told, mut streamed) = (Vec::new(), Vec::new());
    while told.len() <= RENEWALS {
        for reader in [&files, &bare, &askers] {
            reader.expect_alive();
        }
        let data = events.until("a renewal", |event, _| event == "token");
        told.push(data["access_token"].as_str().unwrap().to_owned());
        while streamed.len() < told.len() {
            let message = block_on(stream.message()).unwrap().unwrap();
            if let Event::Token(token) = message.event.unwrap() {
                streamed.push(token.access_token.clone());
            }
        }
    }
    assert_eq!(told, streamed);
    stop.store(true, Ordering::Relaxed);
    for reader in [files, bare, askers] {
        assert!(reader.finish() > RENEWALS as u64, "it read all the time");
    }
    // One agent, one account: one request for each token, and hardly more.
    let renewals = told.len() as u64 - 1;
    let refreshes = google.count("refresh");
    assert!(
        (renewals..=renewals + 3).contains(&refreshes),
        "{refreshes} requests for {renewals} renewals"
    );
    let mut secrets: Vec<&str> = told.iter().map(String::as_str).collect();
    secrets.push(&google.client_secret);
    daemon.scan_for_secrets(&secrets);
}

/// Reads `env` and checks that it is whole and alive; returns its token.
fn whole_env(agent: &Agent) -> String {
    let before = SystemClock.now();
    let env = agent.env();
    let lines: Vec<&str> = env.lines().collect();
    let &[
        token,
        expires_at,
        "GOOGLE_OAUTH_CAPABILITIES=google.gmail.send",
        state,
    ] = lines.as_slice()
    else {
        panic!("not whole: {env}");
    };
    assert!(env.ends_with('\n'), "torn: {env}");
    // The second while a late renewal is waited for: the token still works then.
    let states = [
        "TOKEN_BROKER_STATE=active",
        "TOKEN_BROKER_STATE=provider_unavailable",
    ];
    assert!(states.contains(&state), "{env}");
    let token = token.strip_prefix("GOOGLE_OAUTH_ACCESS_TOKEN=").unwrap();
    let expires_at: Timestamp = expires_at
        .strip_prefix("GOOGLE_OAUTH_TOKEN_EXPIRES_AT=")
        .unwrap()
        .parse()
        .unwrap();
    assert!(before < expires_at, "read at {before}: {env}");
    token.to_owned()
}

/// A thread that does the same thing again and again.
struct Reader {
    thread: JoinHandle<()>,
    rounds: Arc<AtomicU64>,
}

impl Reader {
    fn start(stop: &Arc<AtomicBool>, mut read: impl FnMut() + Send + 'static) -> Self {
        let rounds = Arc::new(AtomicU64::new(0));
        let (stop, counter) = (stop.clone(), rounds.clone());
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                read();
                counter.fetch_add(1, Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        Self { thread, rounds }
    }

    #[track_caller]
    fn expect_alive(&self) {
        assert!(
            !self.thread.is_finished(),
            "a reader found something wrong; see above"
        );
    }

    fn finish(self) -> u64 {
        self.thread.join().expect("it found nothing wrong");
        self.rounds.load(Ordering::Relaxed)
    }
}
