//! Runs the real program from outside: an emulated Google, a daemon in folders of its own, commands, and
//! what an agent sees. Blocking on the outside, so that a test reads as a scene; [`runtime`] is for streams.
//!
//! Nothing here depends on speed: what takes time is waited for with [`wait_until`], whose limit is a safety
//! net alone.
//!
//! ```ignore
//! let google = Emulator::start(&["--token-lifetime", "60s"]);
//! let daemon = Daemon::new(&google);
//! daemon.write_manifest("invoice-bot", "alice", &["google.gmail.send"]);
//! daemon.start();
//! daemon.connect("alice", &["google.gmail.send"]).expect_ok();
//! daemon.wait_for_state("invoice-bot", "active");
//! let token = daemon.agent("invoice-bot").get("/v1/token").json();
//! ```

#![allow(dead_code, unused_imports, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod agent;
mod authority;
mod command;
mod connect;
mod daemon;
mod disk;
mod emulator;
mod grpc;
mod http;
mod libraries;
mod memory;
mod pipe;
mod remote_admin;
mod secrets;

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use token_broker::entropy::{Entropy, SystemEntropy};

pub(crate) use agent::{AGENT_UID, Agent, EventStream, manifest};
pub(crate) use authority::{Authority, Signed, pem, replace};
pub(crate) use command::{Output, program, program_as, program_named};
pub(crate) use connect::Connecting;
pub(crate) use daemon::{Daemon, Refused};
pub(crate) use disk::Disk;
pub(crate) use emulator::{CLIENT_ID, Emulator};
pub(crate) use grpc::{Admin, Tokens, channel, reason};
pub(crate) use http::{Answer, browse, get, open, open_unix, post_form, post_json, read_unix, request};
pub(crate) use libraries::CredentialFile;
pub(crate) use memory::Memory;
pub(crate) use pipe::Pipe;

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// What runs the asynchronous clients.
pub(crate) fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().unwrap()
    });
    &RUNTIME
}

/// Runs `work` to its end, at most [`PATIENCE`] long.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    runtime().block_on(async {
        let limited = tokio::time::timeout(PATIENCE, work).await;
        limited.expect("it ends in time")
    })
}

/// Looks again and again until `look` finds something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Looks again and again until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Sleeps between nothing and `most`, where the moment is what a test is about.
pub(crate) fn nap(most: Duration) {
    let entropy: &dyn Entropy = &SystemEntropy;
    std::thread::sleep(entropy.between(Duration::ZERO, most));
}

/// True where other uids can be taken on and file systems mounted.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Text as it was before it was wrapped for a terminal.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
