//! One loop that accepts connections, for the listeners that the whole daemon has one of.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tokio_util::{net::Listener, sync::CancellationToken, task::TaskTracker};

/// How long nothing is accepted after it failed: out of descriptors, mostly, and that passes.
const PAUSE: Duration = Duration::from_millis(100);

/// Hands each connection to `serve`, at most `most` at once, until `shutdown`; then waits for those that are open.
/// `name` is what log lines call the listener.
pub async fn accept<L, F>(
    mut listener: L,
    name: &str,
    most: usize,
    shutdown: CancellationToken,
    serve: impl Fn(L::Io) -> F,
) where
    L: Listener,
    F: Future<Output = ()> + Send + 'static,
{
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(most));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "{name} could not accept a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            tracing::warn!("{name} has {most} connections; one more was closed");
            continue;
        };
        let serving = serve(stream);
        connections.spawn(async move {
            serving.await;
            drop(permit);
        });
    }
    connections.close();
    connections.wait().await;
}
