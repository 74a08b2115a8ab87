//! What is written into the audit trail, and when.

pub(super) mod agent_uses;
pub(super) mod audit_writer;
pub(super) mod journal;
pub(super) mod pods;
pub(super) mod repeats;
pub(super) mod sessions;
