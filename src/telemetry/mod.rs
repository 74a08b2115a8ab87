//! Logs, metrics and the audit chain.

pub mod audit;
pub mod log;
pub mod metrics;

pub use metrics::Metrics;
