//! The chain of hashes, and how it is verified.

use std::{
    fmt::{self, Write},
    str::FromStr,
};

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;

use super::{AuditEvent, AuditLine, chain_fault::ChainFault};

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

/// As people note it down: `SEQUENCE:HASH`.
impl fmt::Display for ChainPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash)
    }
}

/// A text that names no place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected SEQUENCE:HASH, as `status` and the log show it: the line's number and 64 hexadecimal digits"
)]
pub struct NotAChainPoint;

impl FromStr for ChainPoint {
    type Err = NotAChainPoint;

    fn from_str(text: &str) -> Result<Self, NotAChainPoint> {
        let (sequence, hash) = text.trim().split_once(':').ok_or(NotAChainPoint)?;
        if hash.len() != 64 || !hash.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NotAChainPoint);
        }
        Ok(Self {
            sequence: sequence.parse().map_err(|_| NotAChainPoint)?,
            hash: hash.to_ascii_lowercase(),
        })
    }
}

impl ChainPoint {
    /// The place behind this one, if `line` belongs there.
    #[must_use]
    pub fn followed_by(&self, line: &AuditLine) -> Option<Self> {
        let follows = line.sequence == self.sequence + 1 && chained(&self.hash, line) == line.hash;
        follows.then(|| Self {
            sequence: line.sequence,
            hash: line.hash.clone(),
        })
    }

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
            counted: None,
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
    start: ChainPoint,
    at: ChainPoint,
    end: ChainPoint,
    /// What somebody noted down once, and has to be on the way.
    head: Option<ChainPoint>,
    lines: u64,
    fault: Option<ChainFault>,
}

impl ChainCheck {
    /// Begins behind `start` (the default, or the last line that was pruned) and expects to come to `end`.
    pub fn new(start: ChainPoint, end: ChainPoint) -> Self {
        Self {
            at: start.clone(),
            start,
            end,
            head: None,
            lines: 0,
            fault: None,
        }
    }

    /// Expects `head`, which was the end of the chain once, to be a part of it still.
    #[must_use]
    pub fn through(mut self, head: Option<ChainPoint>) -> Self {
        self.head = head;
        self
    }

    /// Takes the next line. False when something was wrong: nothing after that can be judged.
    pub fn line(&mut self, line: &AuditLine) -> bool {
        self.lines += 1;
        let (expected, found, end) = (self.at.sequence + 1, line.sequence, self.end.sequence);
        if found > end {
            return self.broken(ChainFault::BehindEnd { line: found, end });
        }
        if found < expected {
            return self.broken(ChainFault::Inserted {
                line: found,
                next: expected,
            });
        }
        if found > expected {
            return self.broken(ChainFault::Missing {
                first: expected,
                last: found - 1,
            });
        }
        if chained(&self.at.hash, line) != line.hash {
            return self.broken(ChainFault::Edited { line: found });
        }
        self.come_to(ChainPoint {
            sequence: found,
            hash: line.hash.clone(),
        })
    }

    /// Goes on behind `point`. False when another line was there once.
    fn come_to(&mut self, point: ChainPoint) -> bool {
        let head = self.head.take_if(|head| head.sequence == point.sequence);
        self.at = point;
        match head {
            Some(head) if head != self.at => self.broken(ChainFault::OtherHead { line: head.sequence }),
            _ => true,
        }
    }

    /// How many lines there were, and the first thing that is wrong, after the last line.
    pub fn finish(mut self) -> (u64, Option<ChainFault>) {
        if self.fault.is_none() && self.at != self.end {
            let (at, end) = (self.at.sequence, self.end.sequence);
            self.broken(if at < end {
                ChainFault::Missing {
                    first: at + 1,
                    last: end,
                }
            } else {
                ChainFault::Replaced { line: end }
            });
        }
        if let Some(head) = self.head.take()
            && let Some(fault) = self.not_on_the_way(&head)
        {
            self.broken(fault);
        }
        (self.lines, self.fault)
    }

    /// What is wrong with a head that no line answered to.
    fn not_on_the_way(&self, head: &ChainPoint) -> Option<ChainFault> {
        let (line, start) = (head.sequence, self.start.sequence);
        if line > self.end.sequence {
            return Some(ChainFault::EndsBeforeHead {
                end: self.end.sequence,
                line,
            });
        }
        if *head == self.start {
            return None;
        }
        Some(if line == start {
            ChainFault::OtherHead { line }
        } else {
            ChainFault::HeadPruned {
                line,
                first: start + 1,
            }
        })
    }

    fn broken(&mut self, fault: ChainFault) -> bool {
        self.fault.get_or_insert(fault);
        false
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
    use super::{
        super::{Actor, Concern, Decision},
        *,
    };

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

    fn check(start: ChainPoint, lines: &[AuditLine], end: ChainPoint) -> (u64, Option<ChainFault>) {
        let mut check = ChainCheck::new(start, end);
        let _ = lines.iter().all(|line| check.line(line));
        check.finish()
    }

    fn problem(lines: &[AuditLine], end: &ChainPoint) -> String {
        check(ChainPoint::default(), lines, end.clone())
            .1
            .unwrap()
            .to_string()
    }

    #[test]
    fn an_untouched_trail_is_whole_from_the_start_and_from_any_line() {
        let (lines, end) = trail(5);
        assert_eq!(check(ChainPoint::default(), &lines, end.clone()), (5, None));
        let pruned = ChainPoint {
            sequence: 3,
            hash: lines[2].hash.clone(),
        };
        assert_eq!(check(pruned, &lines[3..], end.clone()), (2, None));
        assert_eq!(check(end.clone(), &[], end).1, None);
        assert_eq!(check(ChainPoint::default(), &[], ChainPoint::default()).1, None);
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

    #[test]
    fn a_head_that_was_noted_down_is_on_the_way() {
        let (lines, end) = trail(5);
        let point = |line: &AuditLine| ChainPoint {
            sequence: line.sequence,
            hash: line.hash.clone(),
        };
        let found = |kept: &[AuditLine], start: ChainPoint, head: &ChainPoint| {
            let end = kept.last().map_or_else(|| start.clone(), point);
            let mut check = ChainCheck::new(start, end).through(Some(head.clone()));
            let _ = kept.iter().all(|line| check.line(line));
            check.finish().1.map(|fault| fault.to_string())
        };
        for line in &lines {
            assert_eq!(found(&lines, ChainPoint::default(), &point(line)), None);
        }
        assert_eq!(found(&lines[3..], point(&lines[2]), &point(&lines[2])), None);
        assert_eq!(found(&lines, ChainPoint::default(), &ChainPoint::default()), None);
        let other = ChainPoint {
            hash: lines[0].hash.clone(),
            ..point(&lines[2])
        };
        let another =
            |problem: Option<String>| assert!(problem.unwrap().starts_with("line 3 is another one"));
        another(found(&lines, ChainPoint::default(), &other));
        another(found(&lines[3..], point(&lines[2]), &other));
        assert_eq!(
            found(&lines[..4], ChainPoint::default(), &end).unwrap(),
            "the trail ends at line 4, and line 5 was there once: an older copy of the database took its place"
        );
        assert_eq!(
            found(&lines[3..], point(&lines[2]), &point(&lines[1])).unwrap(),
            "line 2 is not kept any more: the trail begins at line 4; compare with a head from after that"
        );
    }

    #[test]
    fn a_head_is_written_and_read() {
        let (_, end) = trail(3);
        assert_eq!(end.to_string(), format!("3:{}", end.hash));
        assert_eq!(end.to_string().parse(), Ok(end.clone()));
        assert_eq!(
            format!(" {} \n", end.to_string().to_uppercase()).parse(),
            Ok(end.clone())
        );
        for wrong in [
            "",
            "3",
            "3:",
            ":ab",
            "x:ab",
            &format!("-1:{}", end.hash),
            &format!("3:{}g", &end.hash[..63]),
        ] {
            assert_eq!(wrong.parse::<ChainPoint>(), Err(NotAChainPoint), "{wrong}");
        }
    }
}
