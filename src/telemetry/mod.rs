//! Logs, metrics and the audit chain.

pub mod audit;
#[cfg(test)]
pub(crate) mod captured;
pub(crate) mod figures;
pub mod log;
pub mod metrics;
pub mod panics;
pub mod stderr;
mod timing;

pub use metrics::Metrics;
