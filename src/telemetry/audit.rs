//! The audit trail: who used what, and what was decided. Each line is chained to the one before by hash.
//!
//! The hash of line `n` is `SHA-256(hash of line n-1 ‖ line n)` in hexadecimal digits, where the line is the
//! JSON array `[sequence, time, actor, action, integration, capabilities, decision, detail]` without white
//! space, its time in microseconds since 1970, and the hash before the first line is 64 zeros. Whoever keeps
//! the trail also keeps its [`ChainPoint`] at the end, so that a tail that was cut off is missed. The chain
//! has no key: it finds what was changed in place, not a trail that was written anew from that place on, end
//! point included; against that, keep a copy of the newest hash elsewhere.

use std::fmt::{self, Write};

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;

use crate::id::{AgentName, CapabilityKey, IntegrationId, OwnerId};

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Actor {
    /// An agent, by its name.
    Agent(String),
    /// Whoever called the admin socket, by uid.
    Admin(u32),
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
    /// Who, as text: `agent:<name>`, `admin:uid=<n>`, `person:<owner>`, `daemon` or
    /// `provider`.
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

/// A place in the chain: that of the line before the first, or of any line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainPoint {
    /// The line's place; 0 before the first.
    pub sequence: u64,
    /// The line's hash in hex.
    pub hash: String,
}

impl Default for ChainPoint {
    fn default() -> Self {
        Self {
            sequence: 0,
            hash: "0".repeat(64),
        }
    }
}

impl ChainPoint {
    /// Gives `event` the place behind this one, which becomes that place.
    pub fn append(&mut self, event: &AuditEvent) -> AuditLine {
        let mut line = AuditLine {
            sequence: self.sequence + 1,
            // What is hashed must be what is stored.
            time: Timestamp::from_microsecond(event.time.as_microsecond()).unwrap_or(event.time),
            actor: event.actor.to_string(),
            action: event.action.to_owned(),
            integration: event
                .integration
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            capabilities: event.capabilities.iter().map(ToString::to_string).collect(),
            decision: event.decision.as_str().to_owned(),
            detail: event.detail.clone(),
            hash: String::new(),
        };
        line.hash = chained(&self.hash, &line);
        *self = Self {
            sequence: line.sequence,
            hash: line.hash.clone(),
        };
        line
    }
}

/// Recomputes a chain, line by line.
pub struct ChainCheck {
    at: ChainPoint,
    end: ChainPoint,
    report: ChainReport,
}

impl ChainCheck {
    /// Begins behind `start` (the default, or the last line that was pruned) and expects to come to `end`.
    pub fn new(start: ChainPoint, end: ChainPoint) -> Self {
        Self {
            at: start,
            end,
            report: ChainReport {
                lines: 0,
                problem: None,
            },
        }
    }

    /// Takes the next line. False when something was wrong: nothing after that can be judged.
    pub fn line(&mut self, line: &AuditLine) -> bool {
        self.report.lines += 1;
        let expected = self.at.sequence + 1;
        let found = line.sequence;
        if found > self.end.sequence {
            return self.broken(format!(
                "line {found} was inserted: the trail ends at line {}",
                self.end.sequence
            ));
        }
        if found < expected {
            return self.broken(format!("line {found} was inserted: line {expected} comes next"));
        }
        if found > expected {
            return self.broken(missing(expected, found - 1));
        }
        if chained(&self.at.hash, line) != line.hash {
            return self.broken(format!(
                "line {found} does not match its hash: it was edited, or line {} was, hash included",
                self.at.sequence
            ));
        }
        self.at = ChainPoint {
            sequence: found,
            hash: line.hash.clone(),
        };
        true
    }

    /// Takes a line that cannot even be read. Always false.
    pub fn unreadable(&mut self, sequence: i64, reason: &str) -> bool {
        self.report.lines += 1;
        self.broken(format!("line {sequence} cannot be read: {reason}"))
    }

    /// What was found, after the last line.
    pub fn finish(mut self) -> ChainReport {
        if self.report.problem.is_none() && self.at != self.end {
            let problem = if self.at.sequence < self.end.sequence {
                missing(self.at.sequence + 1, self.end.sequence)
            } else {
                format!(
                    "line {} is not the one that was written last: it was replaced",
                    self.end.sequence
                )
            };
            self.broken(problem);
        }
        self.report
    }

    fn broken(&mut self, problem: String) -> bool {
        self.report.problem.get_or_insert(problem);
        false
    }
}

fn missing(first: u64, last: u64) -> String {
    if first == last {
        format!("line {first} is missing: it was removed")
    } else {
        format!("lines {first} to {last} are missing: they were removed")
    }
}

fn chained(before: &str, line: &AuditLine) -> String {
    let canonical = serde_json::json!([
        line.sequence,
        line.time.as_microsecond(),
        line.actor,
        line.action,
        line.integration,
        line.capabilities,
        line.decision,
        line.detail,
    ]);
    let mut context = Context::new(&SHA256);
    context.update(before.as_bytes());
    context.update(canonical.to_string().as_bytes());
    let mut hash = String::with_capacity(64);
    for byte in context.finish().as_ref() {
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trail(length: u64) -> (Vec<AuditLine>, ChainPoint) {
        let mut end = ChainPoint::default();
        let lines = (1..=length)
            .map(|number| {
                end.append(&AuditEvent {
                    time: "2024-01-15T10:30:00.123456789Z".parse().unwrap(),
                    actor: Actor::Agent("invoice-bot".into()),
                    action: "token.issued",
                    integration: Some("int_00000000000000000001".parse().unwrap()),
                    capabilities: vec!["google.gmail.send".parse().unwrap()],
                    decision: Decision::Allowed,
                    detail: format!("number {number}"),
                    concern: Concern::default(),
                })
            })
            .collect();
        (lines, end)
    }

    fn check(start: ChainPoint, lines: &[AuditLine], end: ChainPoint) -> ChainReport {
        let mut check = ChainCheck::new(start, end);
        let _ = lines.iter().all(|line| check.line(line));
        check.finish()
    }

    fn problem(lines: &[AuditLine], end: &ChainPoint) -> String {
        check(ChainPoint::default(), lines, end.clone()).problem.unwrap()
    }

    #[test]
    fn an_untouched_trail_is_whole_from_the_start_and_from_any_line() {
        let (lines, end) = trail(5);
        assert_eq!(
            check(ChainPoint::default(), &lines, end.clone()),
            ChainReport {
                lines: 5,
                problem: None
            }
        );
        let pruned = ChainPoint {
            sequence: 3,
            hash: lines[2].hash.clone(),
        };
        assert_eq!(
            check(pruned, &lines[3..], end.clone()),
            ChainReport {
                lines: 2,
                problem: None
            }
        );
        assert_eq!(check(end.clone(), &[], end).problem, None);
        assert_eq!(
            check(ChainPoint::default(), &[], ChainPoint::default()).problem,
            None
        );
    }

    #[test]
    fn the_hash_is_the_documented_one() {
        // Kept by users and compared years later: computed by other means, it must never change.
        let (lines, _) = trail(1);
        assert_eq!(
            lines[0].hash,
            "b8781459e259d25ece20375941da45e08477d4e84e8e882c93a77937d24aad0b"
        );
    }

    #[test]
    fn an_edit_of_any_field_is_found_on_its_line() {
        let (lines, end) = trail(4);
        let edits: [fn(&mut AuditLine); 7] = [
            |line| line.time = Timestamp::UNIX_EPOCH,
            |line| line.actor = "daemon".into(),
            |line| line.action = "token.denied".into(),
            |line| line.integration.clear(),
            |line| line.capabilities = vec!["google.gmail".into(), "send".into()],
            |line| line.decision = "denied".into(),
            |line| line.detail.push(' '),
        ];
        for edit in edits {
            let mut edited = lines.clone();
            edit(&mut edited[2]);
            assert_eq!(
                problem(&edited, &end),
                "line 3 does not match its hash: it was edited, or line 2 was, hash included"
            );
        }
    }

    #[test]
    fn an_edit_with_a_new_hash_is_found_on_the_next_line() {
        let (mut lines, end) = trail(4);
        lines[2].detail.clear();
        lines[2].hash = chained(&lines[1].hash, &lines[2]);
        assert!(problem(&lines, &end).starts_with("line 4 does not match its hash"));
        let (mut lines, end) = trail(3);
        lines[2].detail.clear();
        lines[2].hash = chained(&lines[1].hash, &lines[2]);
        assert_eq!(
            problem(&lines, &end),
            "line 3 is not the one that was written last: it was replaced"
        );
    }

    #[test]
    fn removed_lines_are_named() {
        let (lines, end) = trail(5);
        assert_eq!(problem(&lines[1..], &end), "line 1 is missing: it was removed");
        assert_eq!(
            problem(&[&lines[..1], &lines[3..]].concat(), &end),
            "lines 2 to 3 are missing: they were removed"
        );
        assert_eq!(
            problem(&lines[..3], &end),
            "lines 4 to 5 are missing: they were removed"
        );
        assert_eq!(problem(&[], &end), "lines 1 to 5 are missing: they were removed");
    }

    #[test]
    fn inserted_lines_are_named() {
        let (lines, _) = trail(5);
        let (_, end) = trail(4);
        assert_eq!(
            problem(&lines, &end),
            "line 5 was inserted: the trail ends at line 4"
        );
        let (lines, end) = trail(3);
        let doubled = [&lines[..2], &lines[1..]].concat();
        assert_eq!(problem(&doubled, &end), "line 2 was inserted: line 3 comes next");
    }
}
