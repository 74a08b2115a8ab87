//! Which renewals run at once, at each provider: while one hangs, what waits for it holds up no other's.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{id::ProviderId, registry::keys::TokenKey};

/// The tokens that are due, in a lane for each provider.
pub(crate) struct Lanes {
    /// How many of each provider run at once.
    each: usize,
    lanes: BTreeMap<ProviderId, Lane>,
}

struct Lane {
    places: Arc<Semaphore>,
    /// Those that have no place yet, in the order in which they came. One may have gone elsewhere meanwhile.
    waiting: VecDeque<TokenKey>,
    /// What is in `waiting`, so that nothing is there twice.
    known: HashSet<TokenKey>,
}

impl Lanes {
    /// With so many places for each provider.
    pub(crate) fn new(each: usize) -> Self {
        Self {
            each,
            lanes: BTreeMap::new(),
        }
    }

    /// Puts a token behind the others of its provider.
    pub(crate) fn add(&mut self, provider: ProviderId, key: TokenKey) {
        let lane = self.lanes.entry(provider).or_insert_with(|| Lane {
            places: Arc::new(Semaphore::new(self.each)),
            waiting: VecDeque::new(),
            known: HashSet::new(),
        });
        if lane.known.insert(key.clone()) {
            lane.waiting.push_back(key);
        }
    }

    /// A token that can start, with the place that it takes. What does not wait for one any more is left out.
    pub(crate) fn next(
        &mut self,
        waits: impl Fn(&TokenKey) -> bool,
    ) -> Option<(OwnedSemaphorePermit, TokenKey)> {
        self.lanes.values_mut().find_map(|lane| lane.next(&waits))
    }
}

impl Lane {
    fn next(&mut self, waits: impl Fn(&TokenKey) -> bool) -> Option<(OwnedSemaphorePermit, TokenKey)> {
        while !self.waiting.is_empty() {
            // The place first: what cannot start stays where it is.
            let place = self.places.clone().try_acquire_owned().ok()?;
            let key = self.waiting.pop_front()?;
            self.known.remove(&key);
            if waits(&key) {
                return Some((place, key));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::ScopeSet;

    fn key(account: u8) -> TokenKey {
        TokenKey {
            integration: format!("int_{account:020x}").parse().unwrap(),
            scopes: ScopeSet::parse("a").unwrap(),
        }
    }

    fn provider(name: &str) -> ProviderId {
        name.parse().unwrap()
    }

    #[test]
    fn a_full_lane_holds_up_no_other_and_goes_on_where_it_was() {
        let mut lanes = Lanes::new(1);
        lanes.add(provider("acme"), key(1));
        lanes.add(provider("acme"), key(2));
        lanes.add(provider("acme"), key(2));
        let (first, started) = lanes.next(|_| true).unwrap();
        assert_eq!(started, key(1));
        lanes.add(provider("google"), key(3));
        let (_google, started) = lanes.next(|_| true).unwrap();
        assert_eq!(started, key(3));
        assert!(lanes.next(|_| true).is_none(), "both are full");
        drop(first);
        let (_second, started) = lanes.next(|_| true).unwrap();
        assert_eq!(started, key(2));
        assert!(lanes.next(|_| true).is_none());
    }

    #[test]
    fn what_went_elsewhere_takes_no_place() {
        let mut lanes = Lanes::new(1);
        for account in 1..4 {
            lanes.add(provider("acme"), key(account));
        }
        let (_place, started) = lanes.next(|waiting| *waiting == key(3)).unwrap();
        assert_eq!(started, key(3));
    }
}
