//! Connections on which nothing was let in yet: few, and the silent ones give way to newer ones.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::budget::{Budget, Exhausted, Peer, Refusals, Share, table::REMOTE_UNPROVEN};

/// The seats of such connections.
pub(super) struct Lobby {
    places: Budget<Peer>,
    seats: Mutex<Seats>,
    full: Refusals,
}

#[derive(Default)]
struct Seats {
    arrivals: u64,
    /// By arrival.
    taken: BTreeMap<u64, Taken>,
}

struct Taken {
    from: Peer,
    /// How many of its requests are being judged.
    asking: usize,
    out: CancellationToken,
    _share: Share<Peer>,
}

impl Lobby {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            places: Budget::new(REMOTE_UNPROVEN),
            seats: Mutex::default(),
            full: Refusals::new(
                "remote.listen closed connections on which nothing was let in yet, because there were too many",
            ),
        })
    }

    /// A seat for a connection from there. Where there is none, the oldest connection that asks nothing gives its own
    /// up: one from there, or from anywhere when there are no seats at all.
    pub(super) fn enter(self: &Arc<Self>, from: Peer) -> Option<Seat> {
        let mut seats = self.seats();
        let share = match self.places.take(&from) {
            Ok(share) => share,
            Err(exhausted) => {
                self.full.count(from);
                let silent = |taken: &Taken| {
                    taken.asking == 0 && (taken.from == from || exhausted == Exhausted::Surface)
                };
                let oldest = seats.taken.iter().find(|(_, taken)| silent(taken));
                let oldest = *oldest?.0;
                seats.taken.remove(&oldest)?.out.cancel();
                self.places.take(&from).ok()?
            }
        };
        seats.arrivals += 1;
        let (number, out) = (seats.arrivals, CancellationToken::new());
        let taken = Taken {
            from,
            asking: 0,
            out: out.clone(),
            _share: share,
        };
        seats.taken.insert(number, taken);
        Some(Seat {
            lobby: Arc::clone(self),
            number,
            out,
        })
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's seat, until something was let in on it.
pub(super) struct Seat {
    lobby: Arc<Lobby>,
    number: u64,
    out: CancellationToken,
}

impl Seat {
    /// Cancelled when the connection has to go.
    pub(super) fn out(&self) -> &CancellationToken {
        &self.out
    }

    /// A request of the connection is being judged, or no longer.
    pub(super) fn note_asking(&self, asking: bool) {
        if let Some(taken) = self.lobby.seats().taken.get_mut(&self.number) {
            taken.asking = if asking {
                taken.asking + 1
            } else {
                taken.asking.saturating_sub(1)
            };
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.lobby.seats().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn peer(text: &str) -> Peer {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn the_silent_give_way_to_newer_ones_and_who_asks_stays() {
        let lobby = Lobby::new();
        let here = peer("192.0.2.1");
        let mut seats: Vec<_> = (0..REMOTE_UNPROVEN.each)
            .map(|_| lobby.enter(here).unwrap())
            .collect();
        seats[0].note_asking(true);
        let newer = lobby.enter(here).unwrap();
        assert!(!seats[0].out().is_cancelled() && seats[1].out().is_cancelled());
        seats[0].note_asking(false);
        let newest = lobby.enter(here).unwrap();
        assert!(seats[0].out().is_cancelled());
        for seat in seats.iter().chain([&newer, &newest]) {
            seat.note_asking(true);
        }
        assert!(lobby.enter(here).is_none());
        let elsewhere = lobby.enter(peer("192.0.2.2")).unwrap();
        assert!(!elsewhere.out().is_cancelled());
        seats.clear();
        drop((newer, newest, elsewhere));
        assert_eq!((lobby.places.used(), lobby.seats().taken.len()), (0, 0));
    }

    #[test]
    fn many_strangers_keep_nobody_out() {
        let lobby = Lobby::new();
        let strangers: Vec<_> = (0..u32::try_from(REMOTE_UNPROVEN.all).unwrap())
            .map(|number| {
                lobby
                    .enter(Peer::from(IpAddr::from(number.to_be_bytes())))
                    .unwrap()
            })
            .collect();
        assert!(lobby.enter(peer("192.0.2.1")).is_some());
        assert!(strangers[0].out().is_cancelled());
    }
}
