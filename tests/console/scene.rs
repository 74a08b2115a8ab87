//! What most scenes begin with.

use crate::support::{Daemon, Emulator};

pub(crate) const SEND: &str = "google.gmail.send";
pub(crate) const EVENTS: &str = "google.calendar.readonly";
pub(crate) const ALICE: &str = "alice@example.com";
pub(crate) const BOB: &str = "bob@example.com";

/// Google with two accounts, and a daemon with an agent for each owner.
pub(crate) fn two_owners(settings: &[(&str, &str)]) -> (Emulator, Daemon) {
    let google = Emulator::start(&["--account", ALICE, "--account", BOB]);
    let daemon = Daemon::with(&google, settings);
    daemon.write_manifest("invoice-bot", "alice", &[SEND]);
    daemon.write_manifest("bobs-helper", "bob", &[EVENTS]);
    daemon.start();
    (google, daemon)
}
