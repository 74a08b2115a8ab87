//! The configuration file and its environment variables.

pub mod capabilities;
pub(crate) mod suggest;

pub use capabilities::CapabilityEntry;
