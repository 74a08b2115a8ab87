//! `POST /risc`: where Google pushes security events to (RFC 8935).

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::State, routing::post};
use hyper::{
    StatusCode,
    header::{CONTENT_LANGUAGE, HeaderValue, RETRY_AFTER},
};
use serde::Serialize;

use super::{
    answer::{Answer, text, typed, wrong_method},
    body::read,
};
use crate::{
    broker::{Announced, Broker},
    risc::{Fault, MAX_SET, Receiver, Rejected},
    telemetry::Metrics,
};

/// A refusal (RFC 8935, section 2.3).
#[derive(Serialize)]
struct Refusal<'a> {
    err: &'a str,
    description: &'a str,
}

/// Takes them.
pub(super) struct SecurityEvents {
    pub(super) broker: Arc<Broker>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) receiver: Receiver,
}

impl SecurityEvents {
    pub(super) fn routes(self) -> Router {
        let refused = || async { wrong_method("POST") };
        Router::new()
            .route("/risc", post(take).fallback(refused))
            .with_state(Arc::new(self))
    }
}

async fn take(State(events): State<Arc<SecurityEvents>>, body: Body) -> Answer {
    receive(&events.broker, &events.receiver, &events.metrics, body).await
}

/// Takes a pushed event: 202 when it was acted on, also before; 400 where it is at fault; 503 where it could not be
/// checked or kept, so that it is pushed again.
///
/// Its media type is not asked for: what it is shows in its signature.
async fn receive(broker: &Arc<Broker>, receiver: &Receiver, metrics: &Metrics, body: Body) -> Answer {
    let pushed = read(body, MAX_SET).await;
    let events = match pushed.as_deref().and_then(|set| std::str::from_utf8(set).ok()) {
        Some(set) => receiver.verify(crate::text::plain(set).trim()).await,
        None => Err(Rejected::Set(
            Fault::InvalidRequest,
            "it is longer than a security event token, not text, or did not come to its end".into(),
        )),
    };
    let events = match events.inspect_err(|rejected| receiver.note(rejected)) {
        Ok(events) => events,
        Err(Rejected::Set(fault, description)) => {
            metrics.security_event(fault.as_str());
            return refused(fault, &description);
        }
        Err(Rejected::Unavailable(error)) => return later(metrics, error.retry_after),
    };
    match broker.security_events.handle(events).await {
        Ok(announced) => {
            metrics.security_event(match announced {
                Announced::New => "new",
                Announced::Repeated => "repeated",
            });
            text(StatusCode::ACCEPTED, "")
        }
        Err(error) => {
            receiver.note_unkept(&error);
            later(metrics, None)
        }
    }
}

fn refused(fault: Fault, description: &str) -> Answer {
    let err = fault.as_str();
    let body = serde_json::to_string(&Refusal { err, description }).unwrap_or_default();
    let mut answer = typed(StatusCode::BAD_REQUEST, "application/json", body);
    answer
        .headers_mut()
        .insert(CONTENT_LANGUAGE, HeaderValue::from_static("en"));
    answer
}

fn later(metrics: &Metrics, wait: Option<Duration>) -> Answer {
    // Rounded up, and soon enough that the sender does not give up.
    let wait = wait.map_or(30, |wait| (wait.as_secs() + 1).min(60));
    metrics.security_event("unavailable");
    let mut answer = text(
        StatusCode::SERVICE_UNAVAILABLE,
        "the event cannot be taken now; push it again\n",
    );
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait));
    answer
}
