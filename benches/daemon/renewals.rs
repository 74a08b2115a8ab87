//! Many renewals that are due at once, with rotation: each is sealed and committed (FULL) before its token is
//! released. The floor is the rate at which single rows are committed on the same disk, one by one, bare.
//!
//! Once with the broker alone, which is what the floor can be compared with, and once with the daemon whole:
//! each agent's two files are written and its socket is served meanwhile. The emulator has a thread of its own in
//! this process and shares the cores.

use std::{path::Path, sync::Arc, time::Instant};

use rusqlite::Connection;

use crate::{
    daemon::{self, Daemon},
    folder::Population,
    google::Google,
    process::thread_times,
    report::{Target, judged, load, note, quantile, spread},
    scale,
};

pub(crate) fn run() {
    let count = scale(10_000, 500);
    let population = Population {
        accounts: count,
        agents: count,
    };
    let clock = daemon::clock();
    let google = Google::start(Arc::new(clock.clone()));
    measure(
        "committed and released",
        &google,
        &Daemon::without_files(clock, &google, population),
        Some(Target::AtLeast(2.0)),
    );
    let clock = daemon::clock();
    let google = Google::start(Arc::new(clock.clone()));
    measure(
        "with the agents' files",
        &google,
        &Daemon::start(clock, &google, population),
        None,
    );
}

fn measure(what: &str, google: &Google, daemon: &Daemon, target: Option<Target>) {
    let count = daemon.handles.len();
    let rounds = scale(11, 2);
    let floor = Floor::new(&daemon.folder.on_disk().join("floor.db"), count);
    let mut figures = Figures::default();
    for round in 0..=rounds {
        let bare = floor.measure(count / 5);
        let before = thread_times();
        let due = daemon.make_due();
        let mut took = daemon.wait_released(&due, &daemon.handles);
        if daemon.delivers() {
            took = daemon.wait_delivered(&due, &daemon.handles);
        }
        // The first one warms up.
        if round > 0 {
            figures.add(count, took.as_secs_f64(), bare, &before);
        }
    }
    figures.print(&format!("{count} due renewals, {what}"), target);
    let each = google.refreshes() as f64 / (count * (rounds + 1)) as f64;
    judged("requests per renewal", each, each, Target::AtMost(1.0));
}

#[derive(Default)]
struct Figures {
    ratios: Vec<f64>,
    rates: Vec<f64>,
    floors: Vec<f64>,
    work: Vec<(String, Vec<f64>)>,
}

impl Figures {
    fn add(&mut self, count: usize, took: f64, bare: f64, before: &[(String, f64)]) {
        let count = count as f64;
        self.ratios.push(count / took / bare);
        self.rates.push(count / took);
        self.floors.push(bare);
        for (name, after) in thread_times() {
            let earlier = before.iter().find(|(known, _)| *known == name);
            let spent = (after - earlier.map_or(0.0, |(_, time)| *time)) / count * 1e6;
            match self.work.iter_mut().find(|(known, _)| *known == name) {
                Some((_, times)) => times.push(spent),
                None => self.work.push((name, vec![spent])),
            }
        }
    }

    fn print(mut self, what: &str, target: Option<Target>) {
        let ratio = quantile(&mut self.ratios, 0.5);
        let shown = format!(
            "{} of one commit per row   {} /s against {} /s",
            spread(&mut self.ratios, 2),
            spread(&mut self.rates, 0),
            spread(&mut self.floors, 0)
        );
        match target {
            Some(target) => judged(what, ratio, shown, target),
            None => note(what, shown),
        }
        let mut work: Vec<String> = Vec::new();
        for (name, mut times) in self.work {
            let median = quantile(&mut times, 0.5);
            if median >= 1.0 {
                work.push(format!("{name} {median:.0}"));
            }
        }
        note("on the cores per renewal, µs", work.join(", "));
        note("load average", load());
    }
}

/// Rows that are updated and committed one at a time.
struct Floor {
    connection: Connection,
    rows: usize,
}

impl Floor {
    fn new(file: &Path, rows: usize) -> Self {
        let connection = Connection::open(file).expect("a database");
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                 CREATE TABLE grants (id TEXT PRIMARY KEY, version INTEGER, secret BLOB); BEGIN",
            )
            .expect("a table");
        for row in 0..rows {
            connection
                .prepare_cached("INSERT INTO grants VALUES (?, 0, zeroblob(400))")
                .and_then(|mut insert| insert.execute([id(row)]))
                .expect("a row");
        }
        connection
            .execute_batch("COMMIT")
            .expect("the rows are committed");
        Self { connection, rows }
    }

    /// Commits per second.
    fn measure(&self, commits: usize) -> f64 {
        let secret = [0x5a_u8; 400];
        let begun = Instant::now();
        for commit in 0..commits {
            // Spread over the table, as due times are.
            let row = commit * 7919 % self.rows;
            self.connection
                .prepare_cached("UPDATE grants SET version = version + 1, secret = ? WHERE id = ?")
                .and_then(|mut update| update.execute((secret, id(row))))
                .expect("a commit");
        }
        commits as f64 / begun.elapsed().as_secs_f64()
    }
}

fn id(row: usize) -> String {
    format!("int_{row:020}")
}
