//! The descriptors of agents: their listening sockets come first, their connections have the rest.

use std::{
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Budget, Exhausted, Limits, Share};

/// The places of agents' listening sockets and of the connections to them, out of one pool of descriptors.
///
/// An eighth of the pool is for connections however many sockets there are, and another eighth is kept for sockets that are
/// still to come. So an agent that is added finds a descriptor while the others' connections take all that they can get.
pub struct AgentPlaces<K: Eq + Hash>(Arc<Pool<K>>);

struct Pool<K: Eq + Hash> {
    descriptors: usize,
    /// What connections may hold, where there are descriptors for so many.
    limits: Limits,
    /// How many listening sockets there are.
    sockets: Mutex<usize>,
    connections: Budget<K>,
}

impl<K: Eq + Hash + Clone> AgentPlaces<K> {
    /// A pool of so many descriptors, of which connections may have as many as `limits` says.
    pub fn new(descriptors: usize, limits: Limits) -> Self {
        let pool = Pool {
            descriptors,
            limits,
            sockets: Mutex::new(0),
            connections: Budget::new(limits.within(descriptors)),
        };
        pool.give_the_rest(0);
        Self(Arc::new(pool))
    }

    /// Takes a descriptor for a listening socket.
    ///
    /// # Errors
    /// When there is none.
    pub fn take_socket(&self) -> Result<SocketPlace<K>, Exhausted> {
        let pool = &self.0;
        let mut sockets = pool.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let used = *sockets + pool.connections.used();
        if *sockets >= pool.descriptors - pool.eighth() || used >= pool.descriptors {
            return Err(Exhausted::Surface);
        }
        *sockets += 1;
        pool.give_the_rest(*sockets);
        Ok(SocketPlace(Arc::clone(pool)))
    }

    /// Takes a place for a connection of `who`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn take_connection(&self, who: &K) -> Result<Share<K>, Exhausted> {
        self.0.connections.take(who)
    }

    /// Takes a place for a connection of `who`, when there is one.
    pub async fn wait_for_connection(&self, who: &K) -> Share<K> {
        self.0.connections.wait(who).await
    }
}

impl<K: Eq + Hash> Pool<K> {
    fn eighth(&self) -> usize {
        self.descriptors.div_ceil(8)
    }

    /// Connections may have what so many sockets leave.
    fn give_the_rest(&self, sockets: usize) {
        let rest = self.descriptors.saturating_sub(sockets + self.eighth());
        self.connections
            .resize(self.limits.within(rest.max(self.eighth())).all);
    }
}

/// A descriptor for a listening socket; given back when dropped.
#[must_use = "what is not held is given back at once"]
pub struct SocketPlace<K: Eq + Hash>(Arc<Pool<K>>);

impl<K: Eq + Hash> Drop for SocketPlace<K> {
    fn drop(&mut self) {
        let mut sockets = self.0.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        *sockets -= 1;
        self.0.give_the_rest(*sockets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        each: 100,
        all: 1000,
        reserve: 0,
    };

    fn sockets(places: &AgentPlaces<usize>) -> Vec<SocketPlace<usize>> {
        std::iter::from_fn(|| places.take_socket().ok()).collect()
    }

    /// As many connections as there are places for, of as many agents as there are.
    fn connections(places: &AgentPlaces<usize>) -> Vec<Share<usize>> {
        (0..10_000)
            .map_while(|agent| places.take_connection(&agent).ok())
            .collect()
    }

    #[test]
    fn sockets_have_all_but_an_eighth_and_connections_have_what_they_leave() {
        let places = AgentPlaces::new(80, LIMITS);
        let listening = sockets(&places);
        assert_eq!((listening.len(), connections(&places).len()), (70, 10));
        drop(listening);
        assert_eq!(connections(&places).len(), 70);
        let few: Vec<_> = (0..20).map(|_| places.take_socket().unwrap()).collect();
        assert_eq!(connections(&places).len(), 50);
        drop(few);
    }

    #[test]
    fn a_flood_of_connections_leaves_descriptors_for_sockets_to_come_and_never_more_than_there_are() {
        let places = AgentPlaces::new(80, LIMITS);
        let flood = connections(&places);
        let listening = sockets(&places);
        assert_eq!((flood.len(), listening.len()), (70, 10));
        assert!(places.take_connection(&0).is_err());
        drop(flood);
        assert_eq!(sockets(&places).len(), 60);
        assert_eq!(connections(&places).len(), 60);
        drop(listening);
    }

    #[test]
    fn connections_have_no_more_than_their_own_limit() {
        let places = AgentPlaces::new(80, Limits { all: 12, ..LIMITS });
        assert_eq!(connections(&places).len(), 12);
        let listening = sockets(&places);
        assert_eq!((listening.len(), connections(&places).len()), (70, 10));
    }
}
