//! One loop that accepts connections, for the listeners that the whole daemon has one of.

use std::{fmt::Display, hash::Hash, time::Duration};

use tokio_util::{net::Listener, sync::CancellationToken, task::TaskTracker};

use crate::budget::{Budget, Refusals, Share};

/// How long nothing is accepted after it failed: out of descriptors, mostly, and that passes.
const PAUSE: Duration = Duration::from_millis(100);

/// Who gets a place on a listener.
pub(crate) struct Door<K: Eq + Hash> {
    places: Budget<K>,
    full: Refusals,
}

impl<K: Eq + Hash + Clone + Display> Door<K> {
    /// `name` is what log lines call the listener.
    pub(crate) fn new(name: &str, places: Budget<K>) -> Self {
        let full = format!(
            "{name} has as many connections as it may, or as one client may; further ones were closed"
        );
        Self {
            places,
            full: Refusals::new(full),
        }
    }

    /// A place for `who`, where there is one.
    pub(crate) fn enter(&self, who: &K) -> Option<Share<K>> {
        self.places.take(who).inspect_err(|_| self.full.count(who)).ok()
    }
}

/// Hands each connection to `serve`, with what `admit` gave it, until `shutdown`; then waits for those that are open. A
/// connection to which `admit` gives nothing is closed at once. `name` is what log lines call the listener.
pub async fn accept<L, A, F>(
    mut listener: L,
    name: &str,
    shutdown: CancellationToken,
    admit: impl Fn(&L::Io, &L::Addr) -> Option<A>,
    serve: impl Fn(L::Io, A) -> F,
) where
    L: Listener,
    F: Future<Output = ()> + Send + 'static,
{
    let connections = TaskTracker::new();
    let failed = Refusals::new(format!("{name} could not accept connections"));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                if let Some(admitted) = admit(&stream, &address) {
                    connections.spawn(serve(stream, admitted));
                }
            }
            Err(error) => {
                failed.count(error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{
        budget::{Limits, Peer},
        telemetry::captured::Captured,
    };

    #[tokio::test]
    async fn one_client_does_not_take_the_places_of_others_and_a_flood_is_one_line() {
        let log = Captured::start();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let door = Door::new(
            "the desk",
            Budget::new(Limits {
                each: 100,
                all: 8,
                reserve: 0,
            }),
        );
        let admit = move |_: &TcpStream, peer: &std::net::SocketAddr| door.enter(&Peer::from(peer.ip()));
        // Each connection is told that it is served, and kept until the client goes.
        let serve = |mut stream: TcpStream, share| async move {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"!").await;
            let _ = stream.read(&mut [0]).await;
            drop(share);
        };
        let serving = accept(listener, "the desk", shutdown.clone(), admit, serve);
        let serving = tokio::spawn(serving);
        let connect = async |from: &str| {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
            let mut stream = socket.connect(address).await.unwrap();
            // The end of the stream, or a reset, where it was closed at once.
            let served = stream.read(&mut [0]).await.is_ok_and(|read| read == 1);
            served.then_some(stream)
        };
        let mut flood = Vec::new();
        for _ in 0..200 {
            flood.extend(connect("127.0.0.2").await);
        }
        assert_eq!(flood.len(), 4, "half of what there is");
        assert!(connect("127.0.0.1").await.is_some());
        let lines = log.take();
        assert!(lines.len() == 1 && lines[0].contains("127.0.0.2"), "{lines:?}");
        drop(flood);
        shutdown.cancel();
        serving.await.unwrap();
    }
}
