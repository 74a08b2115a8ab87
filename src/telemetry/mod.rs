//! Logs, metrics and the audit chain.

pub mod audit;
pub mod log;
pub mod metrics;
mod timing;

pub use metrics::Metrics;
