//! The audit trail: who used what, and what was decided. Each line is chained to the one before by hash.
//!
//! The hash of line `n` is `SHA-256(hash of line n-1 ‖ line n)` in hexadecimal digits, where the line is the
//! JSON array `[sequence, time, actor, action, integration, capabilities, decision, detail]` without white
//! space, its time in microseconds since 1970, and the hash before the first line is 64 zeros. Whoever keeps
//! the trail also keeps its [`ChainPoint`]s at both ends, bound to a key, so that lines that were cut off are
//! missed. Against an older copy of the whole trail, keep the point at its end elsewhere as well.

mod chain;
mod chain_fault;

use std::fmt;

use jiff::Timestamp;

use crate::id::{AgentName, CapabilityKey, IntegrationId, OwnerId};

pub use chain::{ChainCheck, ChainPoint, NotAChainPoint};
pub use chain_fault::ChainFault;

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Actor {
    /// An agent, by its name.
    Agent(String),
    /// Whoever called the admin socket, by uid.
    Admin(u32),
    /// A client of the admin API over TLS, by the name in its certificate.
    Client(String),
    /// A person in a browser, for an owner.
    Person(String),
    /// The daemon by itself.
    Daemon,
    /// The provider, by a signed announcement.
    Provider,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(name) => write!(f, "agent:{name}"),
            Self::Admin(uid) => write!(f, "admin:uid={uid}"),
            Self::Client(name) => write!(f, "client:{name}"),
            Self::Person(owner) => write!(f, "person:{owner}"),
            Self::Daemon => f.write_str("daemon"),
            Self::Provider => f.write_str("provider"),
        }
    }
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

impl Decision {
    /// The decision as the trail shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// Whom an event concerns, so that people find it and only those see it who may. Kept beside the line, outside the
/// chain, which proves what happened and not who may look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Concern {
    /// Whose account or agent it was about at that moment: they may see it for as long as it is kept.
    pub owner: Option<OwnerId>,
    /// The agent that it was about.
    pub agent: Option<AgentName>,
}

impl Concern {
    /// Concerns one owner as a whole.
    pub fn owner(owner: &OwnerId) -> Self {
        Self {
            owner: Some(owner.clone()),
            agent: None,
        }
    }

    /// Concerns an owner's agent.
    pub fn agent(owner: &OwnerId, agent: &AgentName) -> Self {
        Self {
            owner: Some(owner.clone()),
            agent: Some(agent.clone()),
        }
    }
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
    /// Whom it concerns.
    pub concern: Concern,
}

impl AuditEvent {
    /// An event about no account, with nothing more to say of it.
    pub fn new(time: Timestamp, actor: Actor, action: &'static str, decision: Decision) -> Self {
        Self {
            time,
            actor,
            action,
            integration: None,
            capabilities: Vec::new(),
            decision,
            detail: String::new(),
            concern: Concern::default(),
        }
    }
}

/// A line of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLine {
    /// Its place, from 1.
    pub sequence: u64,
    /// When, to the microsecond.
    pub time: Timestamp,
    /// Who, as text: `agent:<name>`, `admin:uid=<n>`, `client:<name>`, `person:<owner>`, `daemon`
    /// or `provider`.
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
    /// Hash of this line and the one before, in hex; empty where it stands for lines that were counted.
    pub hash: String,
    /// It stands for lines of its kind that are not kept: the last of them, with how many there were.
    pub counted: Option<Counted>,
}

/// Lines that were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// How many there were.
    pub lines: u64,
    /// When the first of them was.
    pub first: Timestamp,
}
