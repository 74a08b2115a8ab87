//! Tells a page that something changed, so that it looks again (server-sent events).

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::State, routing::get};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::{
    asked::Asked,
    shares::{Shares, StreamShare},
};
use crate::{
    broker::{Broker, Event},
    net::event_stream,
    session::{Session, Sessions},
    web::answer::{Answer, text},
};

/// What the browser is told: nothing but to look.
const CHANGED: &[u8] = b"event: changed\ndata:\n\n";
/// A line that says nothing, so that a connection that is gone is found out.
const ALIVE: &[u8] = b":\n\n";
/// How often that line is sent, and whether the session is still open looked at.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How long nothing is said after a change: a page of a busy broker looks once in a while, not all the time.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a browser waits before it comes back.
const GREETING: &[u8] = b"retry: 3000\n\n";

/// One open page.
struct Watch {
    sessions: Arc<Sessions>,
    session: Session,
    events: Receiver<Event>,
    shutdown: CancellationToken,
    greeted: bool,
    /// A change was told just now.
    told: bool,
    _share: StreamShare,
}

impl Watch {
    /// What to send next; `None` at the end.
    async fn next(&mut self) -> Option<&'static [u8]> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(GREETING);
        }
        let sessions = self.sessions.clone();
        loop {
            // Before the look at the session, so that none that is closed meanwhile is missed.
            let closed = sessions.closed();
            if !sessions.is_open(self.session.id) {
                return None;
            }
            let pause = if self.told { PAUSE } else { Duration::ZERO };
            let hear = async {
                tokio::time::sleep(pause).await;
                self.told = false;
                tokio::time::timeout(HEARTBEAT, self.events.recv()).await
            };
            let heard = tokio::select! {
                heard = hear => heard,
                () = closed => continue,
                () = self.shutdown.cancelled() => return None,
            };
            match heard {
                Ok(Ok(event)) if event.concerns(self.session.admission.viewer.owner()) => {
                    return Some(self.tell());
                }
                Ok(Ok(_)) => {}
                // Whatever was missed, the page looks at all of it.
                Ok(Err(RecvError::Lagged(_))) => return Some(self.tell()),
                Ok(Err(RecvError::Closed)) => return None,
                Err(_) => return Some(ALIVE),
            }
        }
    }

    /// Tells of a change, and of every other that has come by now.
    fn tell(&mut self) -> &'static [u8] {
        self.told = true;
        while self.events.try_recv().is_ok() {}
        CHANGED
    }
}

/// Tells open pages of changes.
pub(super) struct Live {
    pub(super) broker: Arc<Broker>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) shares: Arc<Shares>,
    pub(super) shutdown: CancellationToken,
}

impl Live {
    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/events", get(events))
            .with_state(Arc::new(self))
    }
}

/// The events of what this session may see.
async fn events(State(live): State<Arc<Live>>, Asked { session, .. }: Asked) -> Answer {
    let Ok(share) = live.shares.stream(&session) else {
        return too_many_pages();
    };
    let watch = Watch {
        sessions: live.sessions.clone(),
        events: live.broker.events(),
        shutdown: live.shutdown.clone(),
        greeted: false,
        told: false,
        _share: share,
        session,
    };
    let events = stream::unfold(watch, |mut watch| async move {
        let bytes = watch.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from_static(bytes)), watch))
    });
    let mut answer = Answer::new(Body::from_stream(events));
    event_stream::mark(answer.headers_mut());
    answer
}

/// The page's script comes back after a while.
fn too_many_pages() -> Answer {
    let mut answer = text(
        StatusCode::TOO_MANY_REQUESTS,
        "as many pages of this person listen as may; close some of them\n",
    );
    let after = HeaderValue::from_static("60");
    answer.headers_mut().insert(header::RETRY_AFTER, after);
    answer
}
