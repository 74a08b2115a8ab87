//! The daemon as a whole beside its floors: renewals, start, memory, how soon an answer can be read, what a
//! slow provider does to others, how many requests many askers cost, how soon a withdrawn token is gone, and what a rotation
//! of keys does to everybody.
//!
//!     cargo bench --bench daemon [-- PART…]     parts: renewals start memory readable slow sharing withdrawal rotation
//!
//! `BENCH_QUICK=1` does the same on a small scale, to see that it works; its figures mean nothing.
//! The database is on the disk that holds `target`, the runtime folder in /dev/shm.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::unused_self,
    reason = "printing is what it is for, what cannot be set up ends it, and its numbers are small"
)]

mod alone;
mod asking;
mod daemon;
mod folder;
mod google;
mod memory;
mod process;
mod readable;
mod renewals;
mod report;
mod rotation;
mod sharing;
mod slow;
mod start;
mod withdrawal;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A part's name and what it does.
type Part = (&'static str, fn());

const PARTS: [Part; 8] = [
    ("renewals", renewals::run),
    ("start", start::run),
    ("memory", memory::run),
    ("readable", readable::run),
    ("slow", slow::run),
    ("sharing", sharing::run),
    ("withdrawal", withdrawal::run),
    ("rotation", rotation::run),
];

fn main() {
    allow_many_files();
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    report::head();
    for (name, part) in PARTS {
        if chosen.is_empty() || chosen.iter().any(|word| name.contains(word)) {
            report::part(name);
            part();
        }
    }
    report::foot();
}

/// Each agent's socket takes a descriptor.
fn allow_many_files() {
    let files = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: files.maximum,
        maximum: files.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the limit of open files can be raised");
}

/// `full`, or `small` where only the working is of interest.
fn scale<T>(full: T, small: T) -> T {
    if std::env::var_os("BENCH_QUICK").is_some_and(|value| value != "0") {
        small
    } else {
        full
    }
}
