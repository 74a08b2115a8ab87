//! A daemon for tests: its admin socket and an agent's socket, both as the protocol describes them.

mod admin;
mod broker;
mod fixtures;

pub(super) use admin::FakeAdmin;
pub(super) use broker::FakeBroker;
pub(super) use fixtures::{agent_of_alice, alice};

/// Parses one command's arguments.
pub(super) fn parse<T: clap::Args>(line: &[impl AsRef<str>]) -> T {
    let command = T::augment_args(clap::Command::new("test").no_binary_name(true));
    let matches = command
        .try_get_matches_from(line.iter().map(AsRef::as_ref))
        .unwrap();
    T::from_arg_matches(&matches).unwrap()
}
