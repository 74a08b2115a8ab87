//! What is written into the audit trail, and when.

pub(crate) mod audit_writer;
pub(crate) mod journal;
pub(crate) mod pods;
pub(crate) mod repeats;
pub(crate) mod sessions;
