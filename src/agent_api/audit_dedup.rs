//! Which pods and nodes the audit trail knows already: each is told once.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    mem,
    sync::{Mutex, PoisonError},
};

/// Lines that are remembered at least, and half of those that are remembered at most.
const LINES: usize = 16 * 1024;

/// Which lines were written.
#[derive(Default)]
pub(crate) struct AuditDedup {
    keys: RandomState,
    told: Mutex<Told>,
}

/// Two generations: the older one is forgotten when the younger one is full, so that those who come often stay known.
#[derive(Default)]
struct Told {
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl AuditDedup {
    /// True when the line has to be written: `about` is what makes it the same line.
    pub(crate) fn is_news(&self, about: &[&str]) -> bool {
        let line = self.keys.hash_one(about);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.young.contains(&line) {
            return false;
        }
        let known = told.old.contains(&line);
        if told.young.len() >= LINES {
            told.old = mem::take(&mut told.young);
        }
        told.young.insert(line);
        !known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_once() {
        let dedup = AuditDedup::default();
        assert!(dedup.is_news(&["a", "pod-1"]));
        assert!(!dedup.is_news(&["a", "pod-1"]));
        assert!(dedup.is_news(&["a", "pod-2"]));
        assert!(dedup.is_news(&["ap", "od-1"]));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_who_comes_often_stays_known() {
        let dedup = AuditDedup::default();
        assert!(dedup.is_news(&["often"]));
        for pod in 0..3 * LINES {
            dedup.is_news(&[&pod.to_string()]);
            if pod % 1000 == 0 {
                assert!(!dedup.is_news(&["often"]), "{pod}");
            }
        }
        let told = dedup.told.lock().unwrap();
        assert!(told.young.len() + told.old.len() <= 2 * LINES);
    }
}
