//! Logs, metrics and the audit chain.

pub mod audit;
