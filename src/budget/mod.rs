//! Budgets: what anything costs is bounded, first for who asks, then for the surface that is asked.
//!
//! A [`Budget`] holds places or bytes and gives them out as guards. A [`Rates`] says how often each may do something.
//! A [`Refusals`] counts for the log what was refused, so that a flood of requests is no flood of lines. The numbers
//! of all budgets are in [`table`]; what of them holds descriptors gets a part of those too ([`descriptors`]).

mod agents;
pub mod descriptors;
mod peer;
mod places;
mod rate;
mod refusals;
pub mod table;

pub use agents::{AgentPlaces, SocketPlace};
pub use peer::Peer;
pub use places::{Budget, Exhausted, Limits, Privileged, Share};
pub use rate::{Pace, Rate, Rates};
pub use refusals::Refusals;
