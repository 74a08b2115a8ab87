//! Google takes five seconds over one account. The others' tokens must come as fast as before, and their
//! renewals must go on.
//!
//! Rounds alternate: all accounts come due and Google is quick; all come due and Google is slow for one of
//! them. Each time another agent asks for its cached token over a kept connection, one request after the other,
//! from before the renewals until well after.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use google_emulator::{Endpoint, Fault};

use crate::{
    asking::Asker,
    daemon::{self, Daemon},
    folder::{Population, account},
    google::Google,
    report::{Target, judged, load, note, quantile, spread},
    scale,
};

/// How long Google takes.
const SLOW: Duration = Duration::from_secs(5);
/// The account that it takes so long over.
const STUCK: usize = 0;

pub(crate) fn run() {
    let rounds = scale(10, 1);
    let clock = daemon::clock();
    let google = Google::start(Arc::new(clock.clone()));
    let population = Population {
        accounts: 200,
        agents: 200,
    };
    let daemon = Daemon::start(clock, &google, population);
    let mut asker = Asker::connect(&daemon.folder.agent(7), "/v1/token");

    let (mut quick, mut slow) = (Latencies::default(), Latencies::default());
    let (mut medians, mut tails, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let before = measure(&daemon, &mut asker);
        daemon.wait_released(&before.due, &daemon.handles);

        let fault = Fault {
            endpoint: Endpoint::Token,
            account: Some(account(STUCK)),
            times: Some(1),
            delay_ms: SLOW.as_millis() as u64,
            ..Fault::default()
        };
        google.handle.inject_fault(fault).expect("a fault");
        let during = measure(&daemon, &mut asker);
        let renewed = daemon
            .handles
            .iter()
            .filter(|handle| during.due.is_past(handle))
            .count();
        assert!(during.due.at.elapsed() < SLOW, "Google was still slow at the end");
        assert!(!during.due.is_past(&daemon.handles[STUCK]), "Google was slow");
        daemon.wait_released(&during.due, &daemon.handles);
        if round > 0 {
            medians.push(during.latencies.at(0.5) / before.latencies.at(0.5));
            tails.push(during.latencies.at(0.99) / before.latencies.at(0.99));
            others.push(renewed as f64);
            quick.0.extend(before.latencies.0);
            slow.0.extend(during.latencies.0);
        }
    }
    let tail = quantile(&mut tails, 0.5);
    let shown = format!(
        "{}   {:.0} µs against {:.0} µs",
        spread(&mut tails, 2),
        slow.at(0.99),
        quick.at(0.99)
    );
    judged(
        "p99 of others' cached tokens, slow / quick",
        tail,
        shown,
        Target::AtMost(1.5),
    );
    note(
        "median of the same",
        format_args!(
            "{}   {:.1} µs against {:.1} µs",
            spread(&mut medians, 2),
            slow.at(0.5),
            quick.at(0.5)
        ),
    );
    let least = quantile(&mut others, 0.0);
    let shown = format!("{least:.0} of {}", population.accounts - 1);
    judged(
        "others renewed meanwhile, in the worst round",
        least,
        shown,
        Target::AtLeast(199.0),
    );
    note("load average", load());
}

struct Measured {
    due: daemon::Due,
    latencies: Latencies,
}

/// In µs.
#[derive(Default)]
struct Latencies(Vec<f64>);

impl Latencies {
    fn at(&self, share: f64) -> f64 {
        quantile(&mut self.0.clone(), share)
    }
}

/// Makes all tokens due and asks for one of them for a while.
fn measure(daemon: &Daemon, asker: &mut Asker) -> Measured {
    let mut latencies = Latencies::default();
    let due = daemon.make_due();
    while due.at.elapsed() < scale(Duration::from_secs(2), Duration::from_millis(500)) {
        let asked = Instant::now();
        let answer = asker.ask();
        latencies.0.push(asked.elapsed().as_secs_f64() * 1e6);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    Measured { due, latencies }
}
