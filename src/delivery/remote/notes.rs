//! What the audit trail is told of pods: who came, once, and who was refused, once in a while.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::telemetry::audit::Decision;

/// A refusal that is repeated is told again after so long.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);
/// Lines that are remembered at most.
const LINES: usize = 4096;

/// Which lines were written.
#[derive(Default)]
pub(super) struct Notes {
    keys: RandomState,
    told: Mutex<HashMap<u64, Option<Duration>>>,
}

impl Notes {
    /// True when the line has to be written: `about` is what makes it the same line, `now` the clock's uptime.
    pub(super) fn is_news(&self, decision: Decision, about: &[&str], now: Duration) -> bool {
        let line = self.keys.hash_one((decision.as_str(), about));
        let again = matches!(decision, Decision::Denied).then(|| now + REFUSED_AGAIN);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= LINES {
            told.retain(|_, again| again.is_none_or(|again| now < again));
            if told.len() >= LINES {
                told.clear();
            }
        }
        match told.get(&line) {
            Some(None) => false,
            Some(Some(again)) if now < *again => false,
            _ => {
                told.insert(line, again);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_once_and_a_refusal_once_in_a_while() {
        let notes = Notes::default();
        let at = Duration::from_secs;
        assert!(notes.is_news(Decision::Allowed, &["a", "pod-1"], at(0)));
        assert!(!notes.is_news(Decision::Allowed, &["a", "pod-1"], at(9999)));
        assert!(notes.is_news(Decision::Allowed, &["a", "pod-2"], at(0)));
        assert!(notes.is_news(Decision::Denied, &["a", "why"], at(0)));
        assert!(!notes.is_news(Decision::Denied, &["a", "why"], at(59)));
        assert!(notes.is_news(Decision::Denied, &["a", "why"], at(60)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let notes = Notes::default();
        for pod in 0..2 * LINES {
            notes.is_news(Decision::Allowed, &[&pod.to_string()], Duration::ZERO);
        }
        assert!(notes.told.lock().unwrap().len() <= LINES);
    }
}
