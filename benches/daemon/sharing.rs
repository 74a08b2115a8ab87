//! How many requests many askers cost.

use std::{
    collections::HashSet,
    fs,
    sync::{Arc, Barrier, Mutex},
    thread,
    time::{Duration, Instant},
};

use google_emulator::{Endpoint, Fault};

use crate::{
    asking::Asker,
    daemon::{self, Daemon},
    folder::Population,
    google::Google,
    report::{Target, judged, load, note, quantile, spread},
    scale,
};

const ASKERS: usize = 64;

pub(crate) fn run() {
    first_askers();
    shared_account();
    note("load average", load());
}

/// Askers of a token that nobody has asked for before, at the same moment.
fn first_askers() {
    let rounds = scale(20, 3);
    let clock = daemon::clock();
    let google = Google::start(Arc::new(clock.clone()));
    let population = Population {
        accounts: rounds,
        agents: rounds,
    };
    let daemon = Daemon::start(clock, &google, population);
    // As long as a real answer takes, so that the askers really meet.
    let fault = Fault {
        endpoint: Endpoint::Token,
        delay_ms: 100,
        ..Fault::default()
    };
    google.handle.inject_fault(fault).expect("a fault");
    let (mut most, mut took) = (0, Vec::new());
    for round in 0..rounds {
        let before = google.refreshes();
        let begun = Instant::now();
        let tokens = ask_together(&daemon, round);
        took.push((begun.elapsed().as_secs_f64() - 0.1) * 1e3);
        assert_eq!(tokens.len(), 1, "all get the same token");
        most = most.max(google.refreshes() - before);
    }
    #[expect(clippy::cast_precision_loss, reason = "few")]
    judged(
        &format!("requests for {ASKERS} first askers, at most"),
        most as f64,
        format_args!(
            "{most} in each of {rounds} rounds; beyond Google's time {} ms",
            spread(&mut took, 1)
        ),
        Target::AtMost(1.0),
    );
}

fn ask_together(daemon: &Daemon, agent: usize) -> HashSet<String> {
    let directory = daemon.folder.agent(agent);
    let (barrier, tokens) = (Barrier::new(ASKERS), Mutex::new(HashSet::new()));
    thread::scope(|scope| {
        for _ in 0..ASKERS {
            scope.spawn(|| {
                // The agent's capabilities are two: one alone is a token that nobody keeps fresh.
                let mut asker = Asker::connect(&directory, "/v1/token?capability=google.gmail.send");
                barrier.wait();
                let token = asker.token();
                tokens.lock().expect("nobody panics").insert(token);
            });
        }
    });
    tokens.into_inner().expect("nobody panics")
}

/// Many agents on one account and scope set.
fn shared_account() {
    let (agents, rounds) = (1000, scale(20, 3));
    let clock = daemon::clock();
    let google = Google::start(Arc::new(clock.clone()));
    let population = Population { accounts: 1, agents };
    let daemon = Daemon::start(clock, &google, population);
    let (mut most, mut took, mut floors) = (0, Vec::new(), Vec::new());
    for _ in 0..rounds {
        let before = google.refreshes();
        let due = daemon.make_due();
        daemon.wait_released(&due, &daemon.handles);
        took.push(daemon.wait_delivered(&due, &daemon.handles).as_secs_f64() * 1e3);
        most = most.max(google.refreshes() - before);
        let token = daemon.token(0);
        for number in [0, agents / 2, agents - 1] {
            let env = fs::read_to_string(daemon.folder.agent(number).join("env")).expect("an env file");
            assert!(env.contains(&token), "each agent has the one token");
        }
        floors.push(floor(&daemon, agents).as_secs_f64() * 1e3);
    }
    #[expect(clippy::cast_precision_loss, reason = "few")]
    judged(
        &format!("requests per renewal for {agents} agents, at most"),
        most as f64,
        format_args!("{most} in each of {rounds} rounds"),
        Target::AtMost(1.0),
    );
    let ratio = quantile(&mut took, 0.5) / quantile(&mut floors, 0.5);
    let shown = format!(
        "{}, floor {}, ratio {ratio:.1}",
        spread(&mut took, 1),
        spread(&mut floors, 1)
    );
    note("from due to the last agent's files, ms", shown);
}

/// The same files, bare, by one thread.
fn floor(daemon: &Daemon, agents: usize) -> Duration {
    let base = daemon.folder.in_memory().join("floor");
    fs::create_dir_all(&base).expect("a folder");
    let begun = Instant::now();
    for number in 0..agents {
        for (name, length) in [("env", 400), ("access_token", 205), ("status.json", 500)] {
            fs::write(base.join("new"), vec![b'x'; length]).expect("a file");
            fs::rename(base.join("new"), base.join(format!("{name}-{number}"))).expect("a rename");
        }
    }
    begun.elapsed()
}
