//! A daemon for tests: its admin socket and an agent's socket, both as the protocol describes them.

mod admin;
mod broker;
mod fixtures;

pub(crate) use admin::{FakeAdmin, FakeServer};
pub(crate) use broker::FakeBroker;
pub(crate) use fixtures::{agent_of_alice, alice};
