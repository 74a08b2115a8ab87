//! Connections that are kept and connections that are not: which request goes on which, and which is sent once more.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, Client},
    rt::{TokioExecutor, TokioTimer},
};

use super::message::Repeat;
use crate::http_client::proxy::{Connector, Egress};

/// Connections that wait for the next request.
const IDLE_CONNECTIONS: usize = 64;
/// The headers of an answer.
const HEADERS: usize = 1000;
/// Shorter than what servers and middleboxes allow, so that few requests meet a dead connection.
const IDLE_TIME: Duration = Duration::from_secs(50);
/// An HTTP/2 connection that died unnoticed (a laptop that changed networks) is given up after these two.
const PING_AFTER: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

type Sender = Client<Connector, Full<Bytes>>;

/// The connections to a server.
pub(super) struct Connections {
    /// They carry one request after another.
    kept: Sender,
    /// Each carries one request.
    fresh: Sender,
}

impl Connections {
    /// Opens nothing yet. `limit` is how long a TCP connection may take to stand.
    pub(super) fn new(egress: Egress, limit: Duration) -> Self {
        let connector = Connector::new(egress, limit);
        let sender = |kept| {
            Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIME)
                .pool_max_idle_per_host(kept)
                // What a token endpoint answers may be the only copy of a grant: odd headers are no reason to lose it.
                .http1_max_headers(HEADERS)
                .http1_ignore_invalid_headers_in_responses(true)
                .http2_keep_alive_interval(PING_AFTER)
                .http2_keep_alive_timeout(PING_TIMEOUT)
                .build(connector.clone())
        };
        Self {
            kept: sender(IDLE_CONNECTIONS),
            fresh: sender(0),
        }
    }

    /// Sends a request. What never left this machine goes on another connection by itself (`hyper-util` does that).
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        repeat: Repeat,
    ) -> Result<Response<Incoming>, legacy::Error> {
        if repeat == Repeat::Never {
            return self.fresh.request(request).await;
        }
        let again = request.clone();
        match self.kept.request(request).await {
            Err(error) if ended_unanswered(&error) => {
                tracing::debug!(%error, "a connection ended before its answer: asking once more, on another");
                self.fresh.request(again).await
            }
            answered => answered,
        }
    }
}

/// True where a connection stood, and ended before an answer began.
fn ended_unanswered(error: &legacy::Error) -> bool {
    let cause = error
        .source()
        .and_then(|source| source.downcast_ref::<hyper::Error>());
    !error.is_connect() && cause.is_some_and(|cause| !cause.is_parse() && !cause.is_user())
}
