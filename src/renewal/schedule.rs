//! The state of each token on its way to the next one. This is the one place that knows: a token is in one state at a time,
//! and each change of it is a method here.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    capability::ScopeSet,
    clock::Uptime,
    id::IntegrationId,
    registry::{keys::TokenKey, time::BrokerClock},
    renewal::queue::wait_for_first,
};

/// The state of a token on its way to the next one.
///
/// A token that an agent asks for ahead of its time is renewed at once and keeps its state here: what comes of the
/// renewal moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenState {
    /// Nothing renews it by itself.
    Idle,
    /// It is renewed at that moment.
    Due(Uptime),
    /// Its renewal failed, and is tried again at that moment.
    BackingOff(Uptime),
    /// It came due at that moment, and has no place among the renewals that run at once yet.
    Held(Uptime),
    /// It came due while something else used the account's grant. It waits here, so that an account whose provider is
    /// slow holds one place among the renewals that run at once, not all of them.
    Queued,
    /// The scheduler has sent it on its way, and nothing has come of that yet.
    InFlight,
}

impl TokenState {
    /// When it is renewed by itself.
    pub(crate) fn due_at(self) -> Option<Uptime> {
        match self {
            Self::Due(at) | Self::BackingOff(at) | Self::Held(at) => Some(at),
            Self::Idle | Self::Queued | Self::InFlight => None,
        }
    }
}

/// The states, and what finds a token by its state.
#[derive(Default)]
struct Table {
    /// Of every token that is not idle.
    states: HashMap<TokenKey, TokenState>,
    /// Those that wait for a moment.
    timed: BTreeSet<(Uptime, TokenKey)>,
    /// Those that wait for a place.
    held: BTreeSet<(Uptime, TokenKey)>,
    /// Those that wait for their account.
    queued: BTreeSet<TokenKey>,
    /// The one of each account that is on its way.
    in_flight: HashMap<IntegrationId, TokenKey>,
}

impl Table {
    fn state(&self, key: &TokenKey) -> TokenState {
        self.states.get(key).copied().unwrap_or(TokenState::Idle)
    }

    /// Moves a token into a state, wherever it was before.
    fn enter(&mut self, key: &TokenKey, state: TokenState) {
        match self.state(key) {
            TokenState::Idle => {}
            TokenState::Due(at) | TokenState::BackingOff(at) => {
                self.timed.remove(&(at, key.clone()));
            }
            TokenState::Held(at) => {
                self.held.remove(&(at, key.clone()));
            }
            TokenState::Queued => {
                self.queued.remove(key);
            }
            TokenState::InFlight => {
                self.in_flight.remove(&key.integration);
            }
        }
        match state {
            TokenState::Idle => {
                self.states.remove(key);
                return;
            }
            TokenState::Due(at) | TokenState::BackingOff(at) => {
                self.timed.insert((at, key.clone()));
            }
            TokenState::Held(at) => {
                self.held.insert((at, key.clone()));
            }
            TokenState::Queued => {
                self.queued.insert(key.clone());
            }
            TokenState::InFlight => {
                self.in_flight.insert(key.integration.clone(), key.clone());
            }
        }
        self.states.insert(key.clone(), state);
    }

    /// The moment that is waited for.
    fn earliest(&self) -> Option<Uptime> {
        self.timed.first().map(|&(time, _)| time)
    }

    /// The first that is due by `now`, which waits for a place from here on.
    fn take(&mut self, now: Uptime) -> Option<TokenKey> {
        let (time, key) = self.timed.first().filter(|(time, _)| *time <= now)?.clone();
        self.enter(&key, TokenState::Held(time));
        Some(key)
    }
}

/// Where all tokens stand.
#[derive(Default)]
pub(crate) struct Schedule {
    table: Mutex<Table>,
    changed: Notify,
}

impl Schedule {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of a token.
    pub(crate) fn state(&self, key: &TokenKey) -> TokenState {
        self.lock().state(key)
    }

    /// When a token is renewed by itself; `None` while it waits for no moment.
    pub(crate) fn due_at(&self, key: &TokenKey) -> Option<Uptime> {
        self.state(key).due_at()
    }

    /// Has a token renewed at `at`, whatever its state.
    pub(crate) fn renew_at(&self, key: &TokenKey, at: Uptime) {
        self.wait_until(key, TokenState::Due(at), at);
    }

    /// Has a renewal that failed tried again at `at`, whatever the token's state.
    pub(crate) fn retry_at(&self, key: &TokenKey, at: Uptime) {
        self.wait_until(key, TokenState::BackingOff(at), at);
    }

    fn wait_until(&self, key: &TokenKey, state: TokenState, at: Uptime) {
        let mut table = self.lock();
        let earliest = table.earliest();
        table.enter(key, state);
        drop(table);
        if earliest.is_none_or(|time| at < time) {
            self.changed.notify_one();
        }
    }

    /// Waits for no moment any more. One that waits for its account, or is on its way, stays there.
    pub(crate) fn cancel(&self, key: &TokenKey) {
        let mut table = self.lock();
        if table.state(key).due_at().is_some() {
            table.enter(key, TokenState::Idle);
        }
    }

    /// The next token that is due, as soon as it is. It waits for a place from here on, which the caller gives.
    pub(crate) async fn next(&self, clock: &BrokerClock) -> TokenKey {
        loop {
            let earliest = {
                let mut table = self.lock();
                if let Some(key) = table.take(clock.uptime()) {
                    return key;
                }
                table.earliest()
            };
            wait_for_first(clock, earliest, &self.changed).await;
        }
    }

    /// True while a token that came due has no place.
    pub(crate) fn is_held(&self, key: &TokenKey) -> bool {
        matches!(self.state(key), TokenState::Held(_))
    }

    /// Sends a token on its way. Where the account's grant is not free, or another token of the account is on its way,
    /// it waits for that instead, and this is false.
    pub(crate) fn send(&self, key: &TokenKey, is_free: bool) -> bool {
        let mut table = self.lock();
        let goes = is_free && !table.in_flight.contains_key(&key.integration);
        table.enter(
            key,
            if goes {
                TokenState::InFlight
            } else {
                TokenState::Queued
            },
        );
        goes
    }

    /// Ends a token's way. True where nothing came of it that moved it elsewhere; it is idle then.
    pub(crate) fn arrive(&self, key: &TokenKey) -> bool {
        let mut table = self.lock();
        let is_on_its_way = table.state(key) == TokenState::InFlight;
        if is_on_its_way {
            table.enter(key, TokenState::Idle);
        }
        is_on_its_way
    }

    /// The account's grant is free: the tokens that waited for it, which are idle from here on. None while one of the account
    /// is on its way, since they would only wait again.
    pub(crate) fn take_queued(&self, id: &IntegrationId) -> Vec<TokenKey> {
        let mut table = self.lock();
        if table.in_flight.contains_key(id) {
            return Vec::new();
        }
        let first = TokenKey {
            integration: id.clone(),
            scopes: ScopeSet::default(),
        };
        let from_account = table.queued.range(first..);
        let of_account = from_account.take_while(|key| key.integration == *id);
        let queued: Vec<TokenKey> = of_account.cloned().collect();
        for key in &queued {
            table.enter(key, TokenState::Idle);
        }
        queued
    }

    /// When the next one is due, or was.
    pub(crate) fn earliest(&self) -> Option<Uptime> {
        let table = self.lock();
        let held = table.held.first().map(|&(time, _)| time);
        held.into_iter().chain(table.earliest()).min()
    }

    /// How many wait for a moment, or for a place.
    pub(crate) fn len(&self) -> usize {
        let table = self.lock();
        table.timed.len() + table.held.len()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use proptest::prelude::*;

    use super::*;
    use crate::clock::ManualClock;

    fn key(account: u8, scope: &str) -> TokenKey {
        TokenKey {
            integration: format!("int_{account:020x}").parse().unwrap(),
            scopes: ScopeSet::parse(scope).unwrap(),
        }
    }

    fn at(seconds: u64) -> Uptime {
        Uptime::START.after(Duration::from_secs(seconds))
    }

    /// A key that was due, sent on its way.
    fn sent(schedule: &Schedule, key: &TokenKey) {
        assert!(schedule.send(key, true));
        assert_eq!(schedule.state(key), TokenState::InFlight);
    }

    #[test]
    fn one_token_of_an_account_is_on_its_way_and_the_others_wait_for_it() {
        let (schedule, a, b, other) = (Schedule::default(), key(1, "a"), key(1, "b"), key(2, "a"));
        sent(&schedule, &a);
        assert!(!schedule.send(&b, true));
        assert_eq!(schedule.state(&b), TokenState::Queued);
        assert!(schedule.send(&other, true), "another account's");
        assert_eq!(schedule.take_queued(&a.integration), [], "they would wait again");
        assert!(schedule.arrive(&a), "nothing came of it");
        assert_eq!(schedule.take_queued(&a.integration), std::slice::from_ref(&b));
        assert_eq!(schedule.state(&b), TokenState::Idle);
        assert_eq!(schedule.state(&other), TokenState::InFlight);
    }

    #[test]
    fn who_finds_the_grant_taken_waits() {
        let (schedule, a) = (Schedule::default(), key(1, "a"));
        assert!(!schedule.send(&a, false));
        assert_eq!(schedule.take_queued(&a.integration), std::slice::from_ref(&a));
        sent(&schedule, &a);
    }

    #[test]
    fn what_comes_of_a_renewal_moves_the_token_before_it_arrives() {
        let (schedule, a, b) = (Schedule::default(), key(1, "a"), key(1, "b"));
        sent(&schedule, &a);
        schedule.renew_at(&a, at(3600));
        assert_eq!(schedule.state(&a), TokenState::Due(at(3600)));
        sent(&schedule, &b);
        schedule.retry_at(&b, at(2));
        assert_eq!(schedule.state(&b), TokenState::BackingOff(at(2)));
        assert!(!schedule.arrive(&a) && !schedule.arrive(&b));
        assert_eq!((schedule.earliest(), schedule.len()), (Some(at(2)), 2));
    }

    #[test]
    fn only_what_waits_for_a_moment_is_cancelled() {
        let schedule = Schedule::default();
        let (due, failed, queued, flying) = (key(1, "a"), key(2, "a"), key(3, "a"), key(4, "a"));
        schedule.renew_at(&due, at(1));
        schedule.retry_at(&failed, at(1));
        assert!(!schedule.send(&queued, false));
        sent(&schedule, &flying);
        for key in [&due, &failed, &queued, &flying] {
            schedule.cancel(key);
        }
        assert_eq!(schedule.state(&due), TokenState::Idle);
        assert_eq!(schedule.state(&failed), TokenState::Idle);
        assert_eq!(schedule.state(&queued), TokenState::Queued);
        assert_eq!(schedule.state(&flying), TokenState::InFlight);
    }

    #[tokio::test]
    async fn the_next_is_the_first_that_is_due_and_an_earlier_one_wakes_the_sleeper() {
        let manual = ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap());
        let clock = Arc::new(BrokerClock::new(Arc::new(manual.clone())));
        let after = |seconds| clock.uptime().after(Duration::from_secs(seconds));
        let schedule = Arc::new(Schedule::default());
        schedule.renew_at(&key(1, "a"), after(100));
        let next = {
            let (schedule, clock) = (schedule.clone(), clock.clone());
            tokio::spawn(async move { schedule.next(&clock).await })
        };
        tokio::task::yield_now().await;
        assert!(!next.is_finished());
        schedule.retry_at(&key(2, "a"), after(10));
        manual.advance(Duration::from_secs(10));
        assert_eq!(next.await.unwrap(), key(2, "a"));
        assert!(schedule.is_held(&key(2, "a")));
        assert_eq!(schedule.earliest(), Some(after(0)), "it has no place yet");
        sent(&schedule, &key(2, "a"));
        assert_eq!(schedule.earliest(), Some(after(90)));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Renew(u64),
        Retry(u64),
        Cancel,
        Send(bool),
        Arrive,
        TakeQueued,
        Take(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..9_u64).prop_map(Step::Renew),
            (0..9_u64).prop_map(Step::Retry),
            Just(Step::Cancel),
            any::<bool>().prop_map(Step::Send),
            Just(Step::Arrive),
            Just(Step::TakeQueued),
            (0..9_u64).prop_map(Step::Take),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_each_token_is_found_by_its_state(
            steps in prop::collection::vec((0..2_u8, "[ab]", step()), 0..60)
        ) {
            let schedule = Schedule::default();
            for (account, scope, step) in steps {
                let key = key(account, &scope);
                match step {
                    Step::Renew(seconds) => schedule.renew_at(&key, at(seconds)),
                    Step::Retry(seconds) => schedule.retry_at(&key, at(seconds)),
                    Step::Cancel => schedule.cancel(&key),
                    Step::Send(is_free) => drop(schedule.send(&key, is_free)),
                    Step::Arrive => drop(schedule.arrive(&key)),
                    Step::TakeQueued => drop(schedule.take_queued(&key.integration)),
                    Step::Take(now) => drop(schedule.lock().take(at(now))),
                }
                let table = schedule.lock();
                let waiting = table.timed.len() + table.held.len();
                let found = waiting + table.queued.len() + table.in_flight.len();
                prop_assert_eq!(table.states.len(), found);
                for (key, state) in &table.states {
                    let is_found = match state {
                        TokenState::Idle => false,
                        TokenState::Due(at) | TokenState::BackingOff(at) => {
                            table.timed.contains(&(*at, key.clone()))
                        }
                        TokenState::Held(at) => table.held.contains(&(*at, key.clone())),
                        TokenState::Queued => table.queued.contains(key),
                        TokenState::InFlight => table.in_flight.get(&key.integration) == Some(key),
                    };
                    prop_assert!(is_found, "{:?} of {:?}", state, key);
                }
            }
        }
    }
}
