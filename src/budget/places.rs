//! Places and bytes: what is held for a while and given back.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// How much there is, in places or in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What one principal may hold at most.
    pub each: usize,
    /// What there is for all.
    pub all: usize,
    /// What of `all` is kept for the privileged: each kind of them may hold so much.
    pub reserve: usize,
}

impl Limits {
    /// These, where there are no more than `most` places for all.
    #[must_use]
    pub fn within(self, most: usize) -> Self {
        Self {
            each: self.each.min(most),
            all: self.all.min(most),
            reserve: self.reserve.min(most),
        }
    }
}

/// Who may use the reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privileged {
    /// The broker's own renewals.
    Renewal,
    /// Liveness, readiness and metrics.
    Probe,
    /// The operator of this daemon.
    Operator,
}

impl Privileged {
    const KINDS: usize = 3;
}

/// Why nothing was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// The principal holds as much as it may.
    Principal,
    /// All that there is has been given out.
    Surface,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Principal => "this client holds as much as one may",
            Self::Surface => "nothing is free",
        })
    }
}

/// Gives out places, or bytes, of one surface to principals with the key `K`.
///
/// Besides [`Limits::each`], nobody may hold more than what is still free for the others. So one principal gets half at
/// most, two a third each, and one that holds nothing always finds something free until there are as many principals
/// as places. Nothing is remembered of a principal that holds nothing.
pub struct Budget<K: Eq + Hash>(Arc<Shared<K>>);

struct Shared<K> {
    limits: Limits,
    state: Mutex<State<K>>,
    freed: Notify,
}

struct State<K> {
    /// What there is for all at present.
    all: usize,
    held: HashMap<K, usize>,
    privileged: [usize; Privileged::KINDS],
    used: usize,
}

impl<K: Eq + Hash> Clone for Budget<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Eq + Hash + Clone> Budget<K> {
    /// A budget of which nothing is given out yet.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared {
            limits,
            state: Mutex::new(State {
                all: limits.all,
                held: HashMap::new(),
                privileged: [0; Privileged::KINDS],
                used: 0,
            }),
            freed: Notify::new(),
        }))
    }

    /// What there is.
    pub fn limits(&self) -> Limits {
        let all = self.0.state().all;
        Limits { all, ..self.0.limits }
    }

    /// What is given out.
    pub fn used(&self) -> usize {
        self.0.state().used
    }

    /// Takes one place for `who`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn take(&self, who: &K) -> Result<Share<K>, Exhausted> {
        self.take_many(who, 1)
    }

    /// Takes `amount` places or bytes for `who`, all or nothing.
    ///
    /// # Errors
    /// Why there are none.
    pub fn take_many(&self, who: &K, amount: usize) -> Result<Share<K>, Exhausted> {
        let limits = self.0.limits;
        let mut state = self.0.state();
        let held = state.held.get(who).copied().unwrap_or_default();
        let free = state.all.saturating_sub(limits.reserve + state.unprivileged());
        let free = free.min(state.unused());
        let wanted = held.saturating_add(amount);
        if amount > free {
            return Err(Exhausted::Surface);
        }
        if wanted > limits.each || wanted > free {
            return Err(Exhausted::Principal);
        }
        state.used += amount;
        match state.held.get_mut(who) {
            Some(held) => *held = wanted,
            None => drop(state.held.insert(who.clone(), wanted)),
        }
        drop(state);
        Ok(self.share(Holder::Principal(who.clone()), amount))
    }

    /// Takes `amount` for a privileged asker, from the reserve too.
    ///
    /// # Errors
    /// Why there are none.
    pub fn take_privileged(&self, who: Privileged, amount: usize) -> Result<Share<K>, Exhausted> {
        let limits = self.0.limits;
        let mut state = self.0.state();
        if amount > state.unused() {
            return Err(Exhausted::Surface);
        }
        let held = &mut state.privileged[who as usize];
        if held.saturating_add(amount) > limits.reserve {
            return Err(Exhausted::Principal);
        }
        *held += amount;
        state.used += amount;
        drop(state);
        Ok(self.share(Holder::Privileged(who), amount))
    }

    /// Takes one place for `who`, when there is one.
    pub async fn wait(&self, who: &K) -> Share<K> {
        loop {
            let mut freed = std::pin::pin!(self.0.freed.notified());
            freed.as_mut().enable();
            if let Ok(share) = self.take(who) {
                return share;
            }
            freed.await;
        }
    }

    fn share(&self, holder: Holder<K>, amount: usize) -> Share<K> {
        Share {
            budget: Arc::clone(&self.0),
            holder,
            amount,
        }
    }
}

impl<K: Eq + Hash> Budget<K> {
    /// Changes what there is for all. What is held stays held, if there is less.
    pub fn resize(&self, all: usize) {
        let grown = all > std::mem::replace(&mut self.0.state().all, all);
        if grown {
            self.0.freed.notify_waiters();
        }
    }
}

impl<K> Shared<K> {
    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> State<K> {
    /// What is given to nobody.
    fn unused(&self) -> usize {
        self.all.saturating_sub(self.used)
    }

    /// What those hold who have no reserve.
    fn unprivileged(&self) -> usize {
        self.used - self.privileged.iter().sum::<usize>()
    }
}

enum Holder<K> {
    Principal(K),
    Privileged(Privileged),
}

/// What was taken; given back when dropped.
#[must_use = "what is not held is given back at once"]
pub struct Share<K: Eq + Hash> {
    budget: Arc<Shared<K>>,
    holder: Holder<K>,
    amount: usize,
}

impl<K: Eq + Hash> Share<K> {
    /// Who holds it; `None` for the privileged.
    pub fn holder(&self) -> Option<&K> {
        match &self.holder {
            Holder::Principal(who) => Some(who),
            Holder::Privileged(_) => None,
        }
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.used -= self.amount;
        match &self.holder {
            Holder::Privileged(who) => state.privileged[*who as usize] -= self.amount,
            Holder::Principal(who) => match state.held.get_mut(who) {
                Some(held) if *held > self.amount => *held -= self.amount,
                _ => drop(state.held.remove(who)),
            },
        }
        drop(state);
        self.budget.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(each: usize, all: usize, reserve: usize) -> Budget<&'static str> {
        Budget::new(Limits { each, all, reserve })
    }

    fn taken(budget: &Budget<&'static str>, who: &'static str) -> Vec<Share<&'static str>> {
        std::iter::from_fn(|| budget.take(&who).ok()).collect()
    }

    #[test]
    fn a_principal_gets_its_own_share_and_gives_it_back() {
        let budget = budget(3, 100, 0);
        let shares = taken(&budget, "a");
        assert_eq!(shares.len(), 3);
        assert_eq!(budget.take(&"a").err(), Some(Exhausted::Principal));
        assert!(budget.take(&"b").is_ok());
        drop(shares);
        assert_eq!(budget.used(), 0);
        assert!(budget.0.state().held.is_empty(), "nobody is remembered");
        assert!(budget.take(&"a").is_ok());
    }

    #[test]
    fn nobody_holds_more_than_what_is_left_for_the_others() {
        let budget = budget(100, 12, 0);
        let first = taken(&budget, "a");
        assert_eq!(first.len(), 6);
        let second = taken(&budget, "b");
        assert_eq!(second.len(), 3);
        let third = taken(&budget, "c");
        assert_eq!((third.len(), budget.used()), (2, 11));
        let last = taken(&budget, "d");
        assert_eq!(last.len(), 1);
        assert_eq!(budget.take(&"e").err(), Some(Exhausted::Surface));
        drop(first);
        assert!(budget.take(&"e").is_ok());
    }

    #[test]
    fn the_reserve_is_for_the_privileged_alone() {
        let budget = budget(100, 6, 2);
        let ordinary: Vec<_> = ["a", "b", "c", "d", "e"]
            .iter()
            .map_while(|who| budget.take(who).ok())
            .collect();
        assert_eq!(ordinary.len(), 4);
        let probe = budget.take_privileged(Privileged::Probe, 1).unwrap();
        let operator = budget.take_privileged(Privileged::Operator, 1).unwrap();
        assert_eq!(
            budget.take_privileged(Privileged::Renewal, 1).err(),
            Some(Exhausted::Surface)
        );
        drop((probe, operator, ordinary));
        let probes: Vec<_> = (0..3)
            .map_while(|_| budget.take_privileged(Privileged::Probe, 1).ok())
            .collect();
        assert_eq!(probes.len(), 2, "one kind does not take what is the others'");
    }

    #[test]
    fn the_privileged_take_nothing_from_the_others_share() {
        let budget = budget(100, 4, 2);
        let _probe = budget.take_privileged(Privileged::Probe, 2).unwrap();
        assert!(budget.take(&"a").is_ok());
        let both = (budget.take(&"a").unwrap(), budget.take(&"b").unwrap());
        assert_eq!(budget.take(&"c").err(), Some(Exhausted::Surface));
        drop(both);
    }

    #[test]
    fn bytes_are_taken_all_or_nothing() {
        let budget = budget(1000, 4000, 0);
        assert_eq!(budget.take_many(&"a", 1001).err(), Some(Exhausted::Principal));
        assert_eq!(budget.take_many(&"a", usize::MAX).err(), Some(Exhausted::Surface));
        let first = budget.take_many(&"a", 600).unwrap();
        assert_eq!(budget.take_many(&"a", 401).err(), Some(Exhausted::Principal));
        let second = budget.take_many(&"a", 400).unwrap();
        drop(first);
        assert_eq!(budget.used(), 400);
        drop(second);
        assert!(budget.0.state().held.is_empty());
    }

    #[tokio::test]
    async fn what_there_is_changes_and_what_is_held_stays_held() {
        let budget = budget(100, 4, 0);
        let shares = [budget.take(&"a").unwrap(), budget.take(&"b").unwrap()];
        budget.resize(1);
        assert_eq!((budget.limits().all, budget.used()), (1, 2));
        assert_eq!(budget.take(&"c").err(), Some(Exhausted::Surface));
        assert!(budget.take_privileged(Privileged::Probe, 1).is_err());
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.wait(&"c").await }
        });
        tokio::task::yield_now().await;
        budget.resize(3);
        drop(waiting.await.unwrap());
        drop(shares);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn who_waits_is_served_when_something_is_given_back() {
        let budget = budget(1, 10, 0);
        let first = budget.take(&"a").unwrap();
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.wait(&"a").await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        let second = waiting.await.unwrap();
        assert_eq!(budget.used(), 1);
        drop(second);
    }
}
