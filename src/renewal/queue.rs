//! What is due when: one ordered queue, one task that sleeps until the next moment.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    clock::Uptime,
    registry::{keys::TokenKey, time::BrokerClock},
};

struct Schedule<K> {
    due: BTreeSet<(Uptime, K)>,
    places: HashMap<K, Uptime>,
}

impl<K> Default for Schedule<K> {
    fn default() -> Self {
        Self {
            due: BTreeSet::new(),
            places: HashMap::new(),
        }
    }
}

impl<K: Clone + Ord + Hash> Schedule<K> {
    fn earliest(&self) -> Option<Uptime> {
        self.due.first().map(|&(time, _)| time)
    }

    /// The first one, if it is due by `now`.
    fn take(&mut self, now: Uptime) -> Option<K> {
        self.earliest().filter(|&time| time <= now)?;
        let (_, key) = self.due.pop_first()?;
        self.places.remove(&key);
        Some(key)
    }
}

/// The queue, of tokens unless told otherwise. Each has at most one place in it.
pub(crate) struct Queue<K = TokenKey> {
    schedule: Mutex<Schedule<K>>,
    changed: Notify,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self {
            schedule: Mutex::default(),
            changed: Notify::new(),
        }
    }
}

impl<K: Clone + Ord + Hash> Queue<K> {
    fn lock(&self) -> MutexGuard<'_, Schedule<K>> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `key` at `at`, instead of where it was.
    pub(crate) fn schedule(&self, key: &K, at: Uptime) {
        let mut schedule = self.lock();
        let earliest = schedule.earliest();
        if let Some(old) = schedule.places.insert(key.clone(), at) {
            schedule.due.remove(&(old, key.clone()));
        }
        schedule.due.insert((at, key.clone()));
        drop(schedule);
        if earliest.is_none_or(|time| at < time) {
            self.changed.notify_one();
        }
    }

    /// Takes `key` out.
    pub(crate) fn cancel(&self, key: &K) {
        let mut schedule = self.lock();
        if let Some(time) = schedule.places.remove(key) {
            schedule.due.remove(&(time, key.clone()));
        }
    }

    /// The next one, as soon as it is due.
    pub(crate) async fn next(&self, clock: &BrokerClock) -> K {
        loop {
            let next = {
                let mut schedule = self.lock();
                if let Some(key) = schedule.take(clock.uptime()) {
                    return key;
                }
                schedule.earliest()
            };
            wait_for_first(clock, next, &self.changed).await;
        }
    }
}

/// Sleeps until the first of what waits is due, or until something else may be the first.
pub(crate) async fn wait_for_first(clock: &BrokerClock, first: Option<Uptime>, changed: &Notify) {
    match first {
        Some(time) => tokio::select! {
            () = clock.sleep_until(time) => {}
            () = changed.notified() => {}
        },
        None => changed.notified().await,
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{capability::ScopeSet, clock::ManualClock};

    fn key(scope: &str) -> TokenKey {
        TokenKey {
            integration: "int_00000000000000000000".parse().unwrap(),
            scopes: ScopeSet::parse(scope).unwrap(),
        }
    }

    fn clocks() -> (ManualClock, Arc<BrokerClock>) {
        let manual = ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap());
        let clock = BrokerClock::new(Arc::new(manual.clone()));
        (manual, Arc::new(clock))
    }

    /// So long after the clocks began.
    fn at(seconds: u64) -> Uptime {
        clocks().1.uptime().after(Duration::from_secs(seconds))
    }

    #[tokio::test]
    async fn comes_in_order_and_not_before_it_is_due() {
        let (manual, clock) = clocks();
        let queue = Arc::new(Queue::default());
        queue.schedule(&key("late"), at(20));
        queue.schedule(&key("soon"), at(10));
        let taker = {
            let (queue, clock) = (queue.clone(), clock.clone());
            tokio::spawn(async move { queue.next(&clock).await })
        };
        manual.advance(Duration::from_secs(9));
        tokio::task::yield_now().await;
        assert!(!taker.is_finished());
        manual.advance(Duration::from_secs(1));
        assert_eq!(taker.await.unwrap(), key("soon"));
        assert_eq!(queue.lock().earliest(), Some(at(20)));
    }

    #[tokio::test]
    async fn an_earlier_task_wakes_the_sleeper() {
        let (_, clock) = clocks();
        let queue = Arc::new(Queue::default());
        queue.schedule(&key("late"), at(100));
        let taker = {
            let (queue, clock) = (queue.clone(), clock.clone());
            tokio::spawn(async move { queue.next(&clock).await })
        };
        tokio::task::yield_now().await;
        queue.schedule(&key("now"), at(0));
        assert_eq!(taker.await.unwrap(), key("now"));
    }

    #[tokio::test]
    async fn a_key_has_one_place_and_can_be_cancelled() {
        let (manual, clock) = clocks();
        manual.advance(Duration::from_secs(50));
        let queue = Queue::<TokenKey>::default();
        queue.schedule(&key("a"), at(10));
        queue.schedule(&key("a"), at(30));
        queue.schedule(&key("b"), at(5));
        queue.cancel(&key("b"));
        assert_eq!(queue.lock().due.len(), 1);
        assert_eq!(queue.lock().places.get(&key("a")), Some(&at(30)));
        assert_eq!(queue.next(&clock).await, key("a"));
        assert_eq!(queue.lock().earliest(), None);
    }
}
