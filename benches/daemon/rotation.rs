//! All that lies under one key comes to lie under another, while 200 agents ask for their tokens and all tokens are renewed.
//! The agents must not notice.
//!
//! Rounds alternate: all accounts come due; all come due and the keys are rotated, again and again. Each time every agent asks
//! for its cached token over a kept connection, one after the other, from before the renewals until well after.

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    asking::Asker,
    daemon::{self, Daemon},
    folder::Population,
    google::Google,
    report::{Target, judged, load, note, quantile, spread},
    scale,
};

const AGENTS: usize = 200;

pub(crate) fn run() {
    // Each has an account, a grant and an access token: some 10,000 rows.
    let accounts = scale(3400, 250);
    let rounds = scale(10, 1);
    let clock = daemon::clock();
    let google = Google::start(Arc::new(clock.clone()));
    let population = Population {
        accounts,
        agents: AGENTS,
    };
    let daemon = Daemon::start(clock, &google, population);
    let mut askers: Vec<Asker> = (0..AGENTS)
        .map(|agent| Asker::connect(&daemon.folder.agent(agent), "/v1/token"))
        .collect();

    let (mut medians, mut tails) = (Vec::new(), Vec::new());
    let (mut quiet, mut rotating) = (Vec::new(), Vec::new());
    let (mut rotations, mut lasted) = (0, Vec::new());
    for round in 0..=rounds {
        let mut before = ask(&daemon, &mut askers);
        let stop = AtomicBool::new(false);
        let (mut during, took) = thread::scope(|scope| {
            let rotation = scope.spawn(|| rotate_until(&daemon, &stop));
            let during = ask(&daemon, &mut askers);
            stop.store(true, Ordering::Relaxed);
            (during, rotation.join().expect("it does not panic"))
        });
        if round > 0 {
            medians.push(quantile(&mut during, 0.5) / quantile(&mut before, 0.5));
            tails.push(quantile(&mut during, 0.99) / quantile(&mut before, 0.99));
            rotations += took.len();
            lasted.extend(took);
            quiet.extend(before);
            rotating.extend(during);
        }
    }
    let tail = quantile(&mut tails, 0.5);
    let shown = format!(
        "{}   {:.0} µs against {:.0} µs",
        spread(&mut tails, 2),
        quantile(&mut rotating, 0.99),
        quantile(&mut quiet, 0.99)
    );
    judged(
        "p99 of agents' cached tokens, rotating / not",
        tail,
        shown,
        Target::AtMost(1.2),
    );
    note("median of the same", spread(&mut medians, 2));
    note(
        "requests, of which none failed",
        format_args!("{} and {}", quiet.len(), rotating.len()),
    );
    note(
        "rotations, and how long one took in seconds",
        format_args!("{rotations}, {}", spread(&mut lasted, 2)),
    );
    note("load average", load());
}

/// Makes all tokens due, and has all agents ask for a while. In µs.
fn ask(daemon: &Daemon, askers: &mut [Asker]) -> Vec<f64> {
    let mut latencies = Vec::new();
    let due = daemon.make_due();
    while due.at.elapsed() < scale(Duration::from_secs(4), Duration::from_millis(500)) {
        for asker in &mut *askers {
            let asked = Instant::now();
            let answer = asker.ask();
            latencies.push(asked.elapsed().as_secs_f64() * 1e6);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }
    daemon.wait_released(&due, &daemon.handles);
    latencies
}

/// Rotates as long as it may; returns how long each rotation took, in seconds.
fn rotate_until(daemon: &Daemon, stop: &AtomicBool) -> Vec<f64> {
    let mut lasted = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let rotated = Command::new(env!("CARGO_BIN_EXE_token-broker"))
            .arg("--config")
            .arg(&daemon.folder.config_file)
            .args(["key", "rotate"])
            .stdout(Stdio::null())
            .status();
        assert!(rotated.expect("the command runs").success());
        lasted.push(began.elapsed().as_secs_f64());
    }
    lasted
}
