//! Logs, metrics and the audit chain.

pub mod audit;
#[cfg(test)]
pub(crate) mod captured;
pub mod log;
pub mod metrics;
mod timing;

pub use metrics::Metrics;
