//! An agent's view that a broker elsewhere tells: what of it holds, and the agent's requests, which are sent on. The sidecar
//! and the node share it.

pub(crate) mod answer;
pub(crate) mod broker;
pub(crate) mod files;
pub(crate) mod former_broker;
pub(crate) mod forward;
mod metadata_relay;
mod retell;
pub(crate) mod skew;
mod source;
pub(crate) mod state;
pub(crate) mod upstream;
pub(crate) mod written;

pub use self::{metadata_relay::MetadataRelay, source::Source};
