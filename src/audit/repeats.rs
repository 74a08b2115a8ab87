//! What somebody may bring about without end is told by few lines: the first ones by themselves, the others as a count,
//! a line a minute at most.
//!
//! What makes two of them the same is what this program calls them and who they are charged to, never a text that the
//! caller chose. So the trail grows by a few lines a minute, however many connections and names somebody makes up.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::{
    budget::Peer,
    clock::{SharedClock, Uptime},
    telemetry::audit::{AuditEvent, Concern},
};

/// For so long they are counted together.
const SPAN: Duration = Duration::from_secs(60);
/// Lines of their own within that time for those who have proven nothing, all together …
const UNPROVEN_LINES: u32 = 1;
/// … and for each party that is known.
const KNOWN_LINES: u32 = 5;
/// Parties that are told apart. Those beyond share what one has.
const PARTIES: usize = 512;
/// Sources that a count names.
const SOURCES: usize = 8;

/// Who something is charged to.
pub(crate) enum Charged<'a> {
    /// Somebody who has proven nothing: all of them share the same few lines, and the sources are counted.
    Unproven(Option<Peer>),
    /// Somebody who is known, by a name that is not theirs to choose.
    Known(&'a str),
}

/// A client's address as the trail writes it.
pub(crate) fn shown(from: Option<Peer>) -> String {
    from.map_or_else(|| "an unknown address".to_owned(), |peer| peer.to_string())
}

/// What is counted together.
#[derive(PartialEq, Eq, Hash)]
struct Kind {
    action: &'static str,
    what: &'static str,
    /// Empty for those who have proven nothing.
    party: Box<str>,
}

/// What a kind has had within the present span.
struct Count {
    /// When the span began.
    since: Uptime,
    lines: u32,
    more: u64,
    sources: Vec<(Peer, u64)>,
    /// Whom the first one concerned, and what it was: the count says the same of itself.
    first: AuditEvent,
}

impl Count {
    fn new(since: Uptime, first: AuditEvent) -> Self {
        Self {
            since,
            lines: 0,
            more: 0,
            sources: Vec::new(),
            first,
        }
    }

    fn add(&mut self, source: Option<Peer>) {
        self.more += 1;
        let Some(source) = source else { return };
        if let Some((_, count)) = self.sources.iter_mut().find(|(known, _)| *known == source) {
            *count += 1;
        } else if self.sources.len() < SOURCES {
            self.sources.push((source, 1));
        }
    }

    fn told(&self, kind: &Kind, time: Timestamp) -> AuditEvent {
        let mut named: Vec<String> = self
            .sources
            .iter()
            .map(|(source, count)| format!("{source} ({count})"))
            .collect();
        let others = self.more - self.sources.iter().map(|(_, count)| count).sum::<u64>();
        if others > 0 && !named.is_empty() {
            named.push(format!("others ({others})"));
        }
        let whence = match (named.is_empty(), kind.party.is_empty()) {
            (false, _) => format!(", from {}", named.join(", ")),
            (true, true) => String::new(),
            (true, false) => format!(", by {}", kind.party),
        };
        let seconds = SPAN.as_secs();
        AuditEvent {
            time,
            integration: None,
            capabilities: Vec::new(),
            detail: format!("{}: {} more within {seconds} s{whence}", kind.what, self.more),
            concern: if kind.party.is_empty() {
                Concern::default()
            } else {
                self.first.concern.clone()
            },
            ..self.first.clone()
        }
    }
}

/// The counts.
#[derive(Default)]
pub(crate) struct Repeats {
    counts: Mutex<HashMap<Kind, Count>>,
    begun: Notify,
}

impl Repeats {
    /// The event, where it gets a line of its own; otherwise it is counted. `what` says what all of its kind have in
    /// common.
    pub(crate) fn admit(
        &self,
        event: AuditEvent,
        what: &'static str,
        charged: &Charged<'_>,
        now: Uptime,
    ) -> Option<AuditEvent> {
        let (party, lines, source) = match charged {
            Charged::Unproven(source) => ("", UNPROVEN_LINES, *source),
            Charged::Known(party) => (*party, KNOWN_LINES, None),
        };
        let action = event.action;
        let kind = |party: &str| Kind {
            action,
            what,
            party: party.into(),
        };
        let mut counts = self.counts();
        let mut kind_of = kind(party);
        if counts.len() >= PARTIES && !counts.contains_key(&kind_of) && !party.is_empty() {
            kind_of = kind("others");
        }
        let count = counts
            .entry(kind_of)
            .or_insert_with(|| Count::new(now, event.clone()));
        if count.lines < lines {
            count.lines += 1;
            drop(counts);
            self.begun.notify_one();
            return Some(event);
        }
        count.add(source);
        None
    }

    /// Waits until some span is over.
    pub(crate) async fn over(&self, clock: &SharedClock) {
        loop {
            let first = self.counts().values().map(|count| count.since.after(SPAN)).min();
            match first {
                Some(end) => tokio::select! {
                    () = clock.sleep_until(end) => return,
                    () = self.begun.notified() => {}
                },
                None => self.begun.notified().await,
            }
        }
    }

    /// What was counted in the spans that are over by `now`; with `all`, also in those that are not.
    pub(crate) fn take(&self, now: Uptime, time: Timestamp, all: bool) -> Vec<AuditEvent> {
        let mut told = Vec::new();
        self.counts().retain(|kind, count| {
            if !all && now < count.since.after(SPAN) {
                return true;
            }
            if count.more == 0 {
                return false;
            }
            told.push(count.told(kind, time));
            // Who goes on gets no more than the one line of the count.
            *count = Count {
                lines: u32::MAX,
                ..Count::new(now, count.first.clone())
            };
            true
        });
        told
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Kind, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::audit::{Actor, Decision};

    fn event(detail: &str) -> AuditEvent {
        AuditEvent {
            time: Timestamp::UNIX_EPOCH,
            actor: Actor::Daemon,
            action: "remote.use",
            integration: None,
            capabilities: Vec::new(),
            decision: Decision::Denied,
            detail: detail.to_owned(),
            concern: Concern::default(),
        }
    }

    fn at(seconds: u64) -> Uptime {
        Uptime::START.after(Duration::from_secs(seconds))
    }

    fn unproven(address: &str) -> Charged<'static> {
        Charged::Unproven(Some(Peer::from(address.parse::<std::net::IpAddr>().unwrap())))
    }

    fn take(repeats: &Repeats, seconds: u64) -> Vec<String> {
        let now = at(seconds);
        let told = repeats.take(now, Timestamp::UNIX_EPOCH, false);
        let mut details: Vec<_> = told.into_iter().map(|event| event.detail).collect();
        details.sort();
        details
    }

    #[test]
    fn those_who_prove_nothing_share_one_line_and_a_count_a_minute() {
        let repeats = Repeats::default();
        let mut lines = 0;
        for number in 0..10_000_u32 {
            // Each from a connection of its own, with a name of its own.
            let address = format!("10.0.{}.{}", number % 20, number % 2);
            let charged = unproven(&address);
            let made_up = event(&format!("agent-{number}"));
            lines += usize::from(
                repeats
                    .admit(made_up, "nothing proven", &charged, at(1))
                    .is_some(),
            );
        }
        assert_eq!(lines, 1);
        assert_eq!(take(&repeats, 60), [""; 0]);
        let told = take(&repeats, 61);
        assert_eq!(told.len(), 1);
        assert!(
            told[0].starts_with("nothing proven: 9999 more within 60 s, from 10.0.1.1 (500), "),
            "{told:?}"
        );
        assert!(told[0].ends_with("others (5999)"), "{told:?}");
        // The count was this minute's line.
        let again = || repeats.admit(event("x"), "nothing proven", &unproven("192.0.2.1"), at(62));
        assert!(again().is_none());
        assert_eq!(
            take(&repeats, 121),
            ["nothing proven: 1 more within 60 s, from 192.0.2.1 (1)"]
        );
        assert_eq!(take(&repeats, 181), [""; 0]);
        assert!(again().is_some(), "after a quiet minute the first is told again");
    }

    #[test]
    fn kinds_and_known_parties_are_told_apart_and_end_somewhere() {
        let repeats = Repeats::default();
        let admitted = |what, party: &str| {
            let charged = Charged::Known(party);
            repeats.admit(event("x"), what, &charged, at(0)).is_some()
        };
        assert_eq!((0..20).filter(|_| admitted("one", "billing/a")).count(), 5);
        assert_eq!((0..20).filter(|_| admitted("other", "billing/a")).count(), 5);
        assert_eq!((0..20).filter(|_| admitted("one", "billing/b")).count(), 5);
        let lines = (0..10_000)
            .filter(|number| admitted("one", &format!("p/{number}")))
            .count();
        assert_eq!(lines, PARTIES - 3 + 5, "those beyond share");
        assert!(repeats.counts().len() <= PARTIES + 1);
        let told = take(&repeats, 60);
        assert!(
            told.contains(&"one: 15 more within 60 s, by billing/a".to_owned()),
            "{told:?}"
        );
    }
}
