//! A connection from its first request to its end.

use std::{
    fmt::Display,
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
    time::Duration,
};

use hyper_util::server::graceful::GracefulConnection;
use tokio::{io::AsyncWrite, time::Instant};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// How long connections may take to end once they are told to.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// A stream that fails when its other end takes nothing for `stall` while something waits to be sent. Nobody keeps a
/// connection, and what is held for it, by not reading.
pub(crate) fn impatient<S: AsyncWrite>(stream: S, stall: Duration) -> Pin<Box<TimeoutWriter<S>>> {
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(stall));
    Box::pin(stream)
}

/// Drives a connection to its end, which it is told to come to after `stop`. `name` is what log lines call it.
pub(crate) async fn until<C: GracefulConnection<Error: Display>>(
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

/// Drives a connection to its end. It is dropped where `begun` is not set at `first_request`, and told to end after `stop`.
/// The connection is the caller's, so that it lies in memory once; so is the wait for `stop`, which may have begun before.
pub(crate) async fn serve<C: GracefulConnection>(
    mut connection: Pin<&mut C>,
    begun: &AtomicBool,
    first_request: Instant,
    mut stop: Pin<&mut WaitForCancellationFuture<'_>>,
) {
    let has_begun = std::future::poll_fn(|_| {
        // Polled right after the connection, which is what sets it, or whose answers wake this task.
        if begun.load(Ordering::Relaxed) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    let is_stopped;
    tokio::select! {
        biased;
        // Clients go away in all kinds of ways; none of them is worth a line.
        _ = connection.as_mut() => return,
        () = has_begun => is_stopped = false,
        () = stop.as_mut() => is_stopped = true,
        // Gone with the first request: while any timer runs, each pause of the runtime has to set an alarm.
        () = tokio::time::sleep_until(first_request) => return,
    }
    if !is_stopped {
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            () = stop => {}
        }
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, connection).await;
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::{sleep, timeout},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_is_slow_is_not() {
        const STALL: Duration = Duration::from_secs(30);
        let (server, mut client) = tokio::io::duplex(4);
        let mut server = impatient(server, STALL);
        let begun = Instant::now();
        let sending = tokio::spawn(async move {
            let error = server.write_all(&[0; 16]).await.unwrap_err();
            (error.kind(), begun.elapsed())
        });
        for _ in 0..3 {
            sleep(Duration::from_secs(29)).await;
            client.read_exact(&mut [0]).await.unwrap();
        }
        let last = begun.elapsed();
        let given_up = timeout(STALL * 2, sending).await.expect("it is given up");
        assert_eq!(given_up.unwrap(), (ErrorKind::TimedOut, last + STALL));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_given_up_who_has_nothing_to_take() {
        let (server, mut client) = tokio::io::duplex(4);
        let mut server = impatient(server, Duration::from_secs(30));
        sleep(Duration::from_secs(86400)).await;
        server.write_all(b"late").await.unwrap();
        client.read_exact(&mut [0; 4]).await.unwrap();
    }
}
