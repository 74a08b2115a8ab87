//! A connection from its first request to its end.

use std::{
    fmt::Display,
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
    time::Duration,
};

use hyper_util::server::graceful::GracefulConnection;
use tokio_util::sync::CancellationToken;

/// How long connections may take to end once they are told to.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// Drives a connection to its end, which it is told to come to after `stop`. `name` is what log lines call it.
pub(super) async fn until<C: GracefulConnection<Error: Display>>(
    connection: C,
    name: &str,
    stop: &CancellationToken,
) {
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of {name} ended badly");
    }
}

/// Drives a connection to its end. It is dropped where `begun` is not set within `first_request`, and told to end
/// after `stop`. The connection is the caller's, so that it lies in memory once.
pub(super) async fn serve<C: GracefulConnection>(
    mut connection: Pin<&mut C>,
    begun: &AtomicBool,
    first_request: Duration,
    stop: &CancellationToken,
) {
    let has_begun = std::future::poll_fn(|_| {
        // Polled right after the connection, which is what sets it, or whose answers wake this task.
        if begun.load(Ordering::Relaxed) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    tokio::select! {
        biased;
        // Clients go away in all kinds of ways; none of them is worth a line.
        _ = connection.as_mut() => return,
        () = has_begun => {}
        () = stop.cancelled() => {}
        // Gone with the first request: while any timer runs, each pause of the runtime has to set an alarm.
        () = tokio::time::sleep(first_request) => return,
    }
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, connection).await;
}
