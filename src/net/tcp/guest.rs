//! Who may ask on a TCP port: connections on which nothing was asked yet, those that ask, and probes.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use crate::{
    budget::{
        Limits, Peer,
        table::{PROXY_CONNECTIONS, PROXY_UNASKED, TCP_CONNECTIONS, TCP_UNASKED},
    },
    net::seats::{Seat, Seats},
};

/// The connections of one port. None is known to be a probe's before its first request's head was read. So each begins on
/// a seat that the silent do not keep, and takes a place with its first request. A probe that finds none is answered all
/// the same.
pub(super) struct Places {
    peers: Shares,
    proxies: Shares,
    proxy_addresses: Vec<IpNet>,
}

/// The seats of one kind of clients.
struct Shares {
    unasked: Arc<Seats>,
    asking: Arc<Seats>,
}

impl Places {
    /// `name` is what log lines call the port; from `proxy_addresses` many people come.
    /// There are descriptors for six times `descriptors` of them.
    pub(super) fn new(name: &str, proxy_addresses: Vec<IpNet>, descriptors: usize) -> Self {
        let shares = |whose, unasked: Limits, asking: Limits| {
            let full = |which| {
                format!(
                    "{name} has as many connections of {whose} {which} as it may, or as one of them may; some were \
                     closed or refused"
                )
            };
            Shares {
                unasked: Seats::new(
                    unasked.within(descriptors),
                    full("on which nothing was asked yet"),
                ),
                asking: Seats::new(asking.within(descriptors.saturating_mul(2)), full("that ask")),
            }
        };
        Self {
            peers: shares("clients", TCP_UNASKED, TCP_CONNECTIONS),
            proxies: shares("proxies", PROXY_UNASKED, PROXY_CONNECTIONS),
            proxy_addresses,
        }
    }

    /// A connection from there, if there is a seat for it.
    pub(super) fn enter(&self, from: IpAddr) -> Option<Arc<Guest>> {
        let address = from.to_canonical();
        let (from, out) = (Peer::from(address), CancellationToken::new());
        let is_proxy = self
            .proxy_addresses
            .iter()
            .any(|network| network.contains(&address));
        let shares = if is_proxy { &self.proxies } else { &self.peers };
        Some(Arc::new(Guest {
            from,
            places: Arc::clone(&shares.asking),
            standing: Mutex::new(Standing::Unasked {
                _seat: shares.unasked.enter(from, &out)?,
            }),
            out,
        }))
    }
}

/// One connection.
pub(super) struct Guest {
    from: Peer,
    /// Where it takes a place.
    places: Arc<Seats>,
    out: CancellationToken,
    standing: Mutex<Standing>,
}

enum Standing {
    Unasked { _seat: Seat },
    Placed(Seat),
}

impl Guest {
    /// Cancelled when the connection has to go.
    pub(super) fn out(&self) -> &CancellationToken {
        &self.out
    }

    /// A request came: it has the connection's place for as long as what this returns is held. `None` where there is no
    /// place.
    pub(super) fn ask(self: &Arc<Self>) -> Option<Asking> {
        let mut standing = self.standing();
        if let Standing::Unasked { .. } = *standing {
            *standing = Standing::Placed(self.places.enter(self.from, &self.out)?);
        }
        if let Standing::Placed(seat) = &*standing {
            seat.note_asking(true);
        }
        Some(Asking(Arc::clone(self)))
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way, until its answer was sent.
pub(super) struct Asking(Arc<Guest>);

impl Drop for Asking {
    fn drop(&mut self) {
        if let Standing::Placed(seat) = &*self.0.standing() {
            seat.note_asking(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places::new("the desk", vec!["192.0.2.9/32".parse().unwrap()], usize::MAX)
    }

    /// So many connections from there as find a place to ask, and keep it.
    fn asking(places: &Places, from: &str) -> Vec<(Arc<Guest>, Asking)> {
        let from = from.parse().unwrap();
        std::iter::from_fn(|| {
            let guest = places.enter(from)?;
            let asking = guest.ask()?;
            Some((guest, asking))
        })
        .collect()
    }

    #[test]
    fn a_peer_keeps_half_of_the_places_and_the_silent_give_way() {
        let places = places();
        let mut busy = asking(&places, "192.0.2.1");
        assert_eq!(busy.len(), TCP_CONNECTIONS.each);
        assert_eq!(asking(&places, "192.0.2.2").len(), TCP_CONNECTIONS.each / 2);
        // Its answer was sent, and it asks nothing more.
        let (first, answered) = busy.remove(0);
        drop(answered);
        let newer = places.enter("192.0.2.1".parse().unwrap()).unwrap();
        assert!(newer.ask().is_some() && first.out().is_cancelled());
    }

    #[test]
    fn a_proxy_has_a_share_for_many_people() {
        let places = places();
        assert_eq!(asking(&places, "192.0.2.9").len(), PROXY_CONNECTIONS.all / 2);
        assert_eq!(
            asking(&places, "192.0.2.1").len(),
            TCP_CONNECTIONS.each,
            "beside it"
        );
    }

    #[test]
    fn connections_that_ask_nothing_keep_nobody_out() {
        let places = places();
        let from = "192.0.2.1".parse().unwrap();
        let silent: Vec<_> = (0..2 * TCP_UNASKED.each)
            .map(|_| places.enter(from).unwrap())
            .collect();
        let gone = silent.iter().filter(|guest| guest.out().is_cancelled()).count();
        assert_eq!(gone, TCP_UNASKED.each);
        assert!(silent.last().unwrap().ask().is_some());
    }
}
