//! How long an agent's script waits for `token-broker token`, beside `/bin/true`: the least that a program can be.
//! Both are started, and waited for, again and again; ours asks a daemon for the token.
//!
//!     cargo bench --bench commands
//!
//! Also with the static file that goes into containers, where `TOKEN_BROKER_BENCH_STATIC` names it.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

mod support;

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use support::{
    agents::{Daemon, snapshot, token},
    ratio::{SLICE, compare},
};
use tokio::runtime::Runtime;

fn main() {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let runtime = Runtime::new().expect("a runtime can be built");
    let agent = runtime.block_on(async {
        let daemon = Daemon::start(folder.path());
        let agent = daemon.add(snapshot("bot", token(0)));
        daemon.delivery.settled().await;
        (daemon, agent)
    });
    let socket = folder.path().join("agents/bot/broker.sock");
    let built = (env!("CARGO_BIN_EXE_token-broker").into(), "token");
    let given = std::env::var_os("TOKEN_BROKER_BENCH_STATIC").map(|path| (path, "token, static"));
    for (program, name) in std::iter::once(built).chain(given) {
        let ask = [OsStr::new("token"), OsStr::new("--socket"), socket.as_os_str()];
        expect_a_token(&program, &ask);
        let name = format!("starts of `{name}` against /bin/true");
        compare(
            &name,
            || starts(&program, &ask),
            || starts(OsStr::new("/bin/true"), &[]),
        );
    }
    drop(agent);
}

/// What fails at once would be quick, too.
fn expect_a_token(program: &OsString, arguments: &[&OsStr]) {
    let answered = Command::new(program).args(arguments).output();
    let answered = answered.unwrap_or_else(|error| panic!("{}: {error}", Path::new(program).display()));
    assert!(answered.stdout.starts_with(b"ya29."), "{answered:?}");
}

/// Starts per second.
fn starts(program: &OsStr, arguments: &[&OsStr]) -> f64 {
    let begin = Instant::now();
    let mut done = 0.0;
    while begin.elapsed() < SLICE {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        assert!(command.status().expect("it starts").success());
        done += 1.0;
    }
    done / begin.elapsed().as_secs_f64()
}
