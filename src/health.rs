//! What this daemon cannot do at the moment, and why.
//!
//! [`Readiness`] holds named conditions. Whoever owns a part of the daemon sets its condition when that part fails, and
//! clears it when it works again; nobody here knows what the conditions are about. What a provider or an account's owner
//! does is no condition: it is a state of agents. A daemon with an unmet condition is not ready: `/readyz` says 503
//! with each sentence, `status` shows them, and each change is a line of the log.

mod pulse;

use std::collections::BTreeMap;

use tokio::sync::watch;

pub use pulse::{Ended, Probe, Pulse, pulse};

/// The condition that is unmet until the start is complete.
const STARTED: &str = "started";
/// The condition that is unmet once the daemon was told to end.
const RUNNING: &str = "running";

/// Something that the daemon cannot do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// Which condition, such as `store`: a stable word.
    pub condition: &'static str,
    /// What is wrong and what to do, for people.
    pub sentence: String,
}

/// Whether the daemon can do its work: it can while no condition is unmet.
#[derive(Debug)]
pub struct Readiness {
    unmet: watch::Sender<BTreeMap<&'static str, String>>,
}

impl Default for Readiness {
    /// Not ready: it is starting.
    fn default() -> Self {
        let starting = BTreeMap::from([(STARTED, "agents' files are not all written".to_owned())]);
        Self {
            unmet: watch::Sender::new(starting),
        }
    }
}

impl Readiness {
    /// `condition` is not met, for the reason in `sentence`. Saying the same again changes nothing.
    pub fn fails(&self, condition: &'static str, sentence: impl Into<String>) {
        let sentence = sentence.into();
        let changed = self.unmet.send_if_modified(|unmet| {
            let before = unmet.insert(condition, sentence.clone());
            before.as_ref() != Some(&sentence)
        });
        if changed {
            tracing::error!(condition, "not ready: {sentence}");
        }
    }

    /// `condition` is met, again perhaps.
    pub fn holds(&self, condition: &'static str) {
        if self.clear(condition) {
            let ready = self.is_ready();
            tracing::info!(condition, ready, "what was not ready works again");
        }
    }

    /// The start is complete.
    pub fn started(&self) {
        self.clear(STARTED);
    }

    /// The daemon ends: it is not ready any more, whatever else is so.
    pub fn ends(&self) {
        self.unmet.send_modify(|unmet| {
            unmet.insert(RUNNING, "the daemon ends".to_owned());
        });
    }

    /// Whether no condition is unmet.
    pub fn is_ready(&self) -> bool {
        self.unmet.borrow().is_empty()
    }

    /// What is not met, in the order of the conditions' names.
    pub fn unmet(&self) -> Vec<Unmet> {
        let unmet = self.unmet.borrow();
        let each = unmet.iter().map(|(condition, sentence)| Unmet {
            condition,
            sentence: sentence.clone(),
        });
        each.collect()
    }

    /// Hears of each change from now on; [`Readiness::unmet`] then says what is so.
    pub fn changes(&self) -> watch::Receiver<BTreeMap<&'static str, String>> {
        self.unmet.subscribe()
    }

    fn clear(&self, condition: &'static str) -> bool {
        self.unmet
            .send_if_modified(|unmet| unmet.remove(condition).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(readiness: &Readiness) -> Vec<&'static str> {
        readiness.unmet().iter().map(|unmet| unmet.condition).collect()
    }

    #[test]
    fn it_is_ready_when_it_has_started_and_no_condition_is_unmet() {
        let readiness = Readiness::default();
        assert!(!readiness.is_ready());
        readiness.started();
        assert!(readiness.is_ready());
        readiness.fails("store", "the disk is full");
        readiness.fails("sockets", "one is missing");
        assert_eq!(conditions(&readiness), ["sockets", "store"]);
        readiness.holds("store");
        assert!(!readiness.is_ready(), "one owner does not speak for another");
        readiness.holds("sockets");
        assert!(readiness.is_ready());
        readiness.ends();
        assert!(!readiness.is_ready());
    }

    #[test]
    fn only_what_changes_is_a_change() {
        let readiness = Readiness::default();
        readiness.started();
        let mut changes = readiness.changes();
        readiness.holds("store");
        assert!(!changes.has_changed().unwrap());
        readiness.fails("store", "the disk is full");
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        readiness.fails("store", "the disk is full");
        assert!(!changes.has_changed().unwrap());
        readiness.fails("store", "the disk is gone");
        assert!(changes.has_changed().unwrap());
        assert_eq!(readiness.unmet()[0].sentence, "the disk is gone");
    }
}
