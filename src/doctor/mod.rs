//! Checks that find the usual mistakes, with or without a running daemon: on a node ([`examine`]), and where an agent is
//! ([`examine_agent`]). What each check looks at is in a file of its own.

mod agent_side;
mod agents;
mod configuration;
mod daemon;
mod delivered;
mod endpoints;
mod exposure;
mod files;
mod finding;
mod foreign;
mod in_force;
mod kubernetes;
mod libraries;
mod mounts;
mod node;
mod upstream;

pub(crate) use agent_side::examine as examine_agent;
pub(crate) use finding::{Finding, Verdict};
pub(crate) use node::{Node, examine, examine_server};
