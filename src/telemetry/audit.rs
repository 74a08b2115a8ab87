//! The audit trail: who used what, and what was decided. Each line is chained to the one before by hash.

use jiff::Timestamp;

use crate::id::{CapabilityKey, IntegrationId};

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// An agent, by its name.
    Agent(String),
    /// Whoever called the admin socket, by uid.
    Admin(u32),
    /// A person in a browser, for an owner.
    Person(String),
    /// The daemon by itself.
    Daemon,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It was done.
    Allowed,
    /// It was refused.
    Denied,
    /// It was tried and did not work.
    Failed,
}

/// An event, before it has a place in the chain. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// When.
    pub time: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What was done, such as `token.issued`.
    pub action: &'static str,
    /// The account concerned.
    pub integration: Option<IntegrationId>,
    /// The capabilities concerned.
    pub capabilities: Vec<CapabilityKey>,
    /// What was decided.
    pub decision: Decision,
    /// More, for people.
    pub detail: String,
}

/// A line of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLine {
    /// Its place, from 1.
    pub sequence: u64,
    /// When.
    pub time: Timestamp,
    /// Who, as text: `agent:<name>`, `admin:uid=<n>`, `person:<owner>` or `daemon`.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// The account concerned, or empty.
    pub integration: String,
    /// The capabilities concerned.
    pub capabilities: Vec<String>,
    /// What was decided: `allowed`, `denied` or `failed`.
    pub decision: String,
    /// More, for people.
    pub detail: String,
    /// Hash of this line and the one before, in hex.
    pub hash: String,
}

/// What a verification of the chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainReport {
    /// How many lines there are.
    pub lines: u64,
    /// The first thing that is wrong, and where.
    pub problem: Option<String>,
}
