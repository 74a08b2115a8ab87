//! Seats for connections to one listener: of those that ask nothing, the oldest gives way to a newer one.

use std::{
    collections::BTreeMap,
    fmt::Display,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::budget::{Budget, Exhausted, Limits, Peer, Refusals, Share};

/// The seats of one listener.
pub(crate) struct Seats<K: Eq + Hash = Peer> {
    places: Budget<K>,
    state: Mutex<State<K>>,
    full: Refusals,
}

struct State<K: Eq + Hash> {
    arrivals: u64,
    /// By arrival.
    taken: BTreeMap<u64, Taken<K>>,
}

struct Taken<K: Eq + Hash> {
    from: K,
    /// How many of its requests are under way.
    asking: usize,
    out: CancellationToken,
    _share: Share<K>,
}

impl<K: Eq + Hash + Copy + Display> Seats<K> {
    /// So many seats; `full` is the line of the log where somebody has to go.
    pub(crate) fn new(limits: Limits, full: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            places: Budget::new(limits),
            state: Mutex::new(State {
                arrivals: 0,
                taken: BTreeMap::new(),
            }),
            full: Refusals::new(full),
        })
    }

    /// A seat for a connection from there, which has to go when `out` is cancelled. Where there is none, the oldest
    /// connection that asks nothing gives its own up: one from there, or from anywhere when there are no seats at all.
    pub(crate) fn enter(self: &Arc<Self>, from: K, out: &CancellationToken) -> Option<Seat<K>> {
        let mut seats = self.state();
        let share = match self.places.take(&from) {
            Ok(share) => share,
            Err(exhausted) => {
                self.full.count(from);
                let silent = |taken: &Taken<K>| {
                    taken.asking == 0 && (taken.from == from || exhausted == Exhausted::Surface)
                };
                let oldest = seats.taken.iter().find(|(_, taken)| silent(taken));
                let oldest = *oldest?.0;
                seats.taken.remove(&oldest)?.out.cancel();
                self.places.take(&from).ok()?
            }
        };
        seats.arrivals += 1;
        let number = seats.arrivals;
        let taken = Taken {
            from,
            asking: 0,
            out: out.clone(),
            _share: share,
        };
        seats.taken.insert(number, taken);
        Some(Seat {
            seats: Arc::clone(self),
            number,
        })
    }
}

impl<K: Eq + Hash> Seats<K> {
    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's seat; given back when dropped.
pub(crate) struct Seat<K: Eq + Hash = Peer> {
    seats: Arc<Seats<K>>,
    number: u64,
}

impl<K: Eq + Hash> Seat<K> {
    /// A request of the connection is under way, or no longer.
    pub(crate) fn note_asking(&self, asking: bool) {
        if let Some(taken) = self.seats.state().taken.get_mut(&self.number) {
            taken.asking = if asking {
                taken.asking + 1
            } else {
                taken.asking.saturating_sub(1)
            };
        }
    }
}

impl<K: Eq + Hash> Drop for Seat<K> {
    fn drop(&mut self) {
        self.seats.state().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const LIMITS: Limits = Limits {
        each: 64,
        all: 256,
        reserve: 0,
    };

    fn seats() -> Arc<Seats> {
        Seats::new(LIMITS, "the desk is full")
    }

    fn peer(text: &str) -> Peer {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn entered(seats: &Arc<Seats>, from: Peer) -> Option<(Seat, CancellationToken)> {
        let out = CancellationToken::new();
        Some((seats.enter(from, &out)?, out))
    }

    #[test]
    fn the_silent_give_way_to_newer_ones_and_who_asks_stays() {
        let seats = seats();
        let here = peer("192.0.2.1");
        let mut taken: Vec<_> = (0..LIMITS.each).map(|_| entered(&seats, here).unwrap()).collect();
        let is_out = |(_, out): &(Seat, CancellationToken)| out.is_cancelled();
        taken[0].0.note_asking(true);
        let newer = entered(&seats, here).unwrap();
        assert!(!is_out(&taken[0]) && is_out(&taken[1]));
        taken[0].0.note_asking(false);
        let newest = entered(&seats, here).unwrap();
        assert!(is_out(&taken[0]));
        for (seat, _) in taken.iter().chain([&newer, &newest]) {
            seat.note_asking(true);
        }
        assert!(entered(&seats, here).is_none());
        let elsewhere = entered(&seats, peer("192.0.2.2")).unwrap();
        assert!(!is_out(&elsewhere));
        taken.clear();
        drop((newer, newest, elsewhere));
        assert_eq!((seats.places.used(), seats.state().taken.len()), (0, 0));
    }

    #[test]
    fn many_strangers_keep_nobody_out() {
        let seats = seats();
        let strangers: Vec<_> = (0..u32::try_from(LIMITS.all).unwrap())
            .map(|number| entered(&seats, Peer::from(IpAddr::from(number.to_be_bytes()))).unwrap())
            .collect();
        assert!(entered(&seats, peer("192.0.2.1")).is_some());
        assert!(strangers[0].1.is_cancelled());
    }
}
