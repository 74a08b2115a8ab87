//! What tests of commands need: the daemon's and an agent's socket with answers that a test chooses, and options.

use super::options::Global;
pub(super) use crate::client::testing::{FakeAdmin, FakeBroker, FakeServer, agent_of_alice, alice};

impl FakeServer {
    /// Options that lead to it.
    pub(super) fn global(&self) -> Global {
        Global {
            admin_socket: Some(self.socket()),
            ..Global::default()
        }
    }
}

/// Parses one command's arguments.
pub(super) fn parse<T: clap::Args>(line: &[impl AsRef<str>]) -> T {
    let command = T::augment_args(clap::Command::new("test").no_binary_name(true));
    let matches = command
        .try_get_matches_from(line.iter().map(AsRef::as_ref))
        .unwrap();
    T::from_arg_matches(&matches).unwrap()
}
