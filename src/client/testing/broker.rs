//! An agent's `broker.sock` with answers that a test chooses.

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{net::UnixListener, sync::watch};
use tokio_stream::{StreamExt, wrappers::WatchStream};

use crate::client::agent::AgentSocket;

type Body = BoxBody<Bytes, Infallible>;

#[derive(Clone, Default)]
struct Answers {
    token: (u16, String),
    env: String,
    status: String,
}

struct Shared {
    answers: Mutex<Answers>,
    requests: Mutex<Vec<String>>,
    revision: watch::Sender<u64>,
    watchers: watch::Sender<u64>,
}

/// The fake; it ends with the test's runtime.
pub(crate) struct FakeBroker {
    dir: TempDir,
    shared: Arc<Shared>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeBroker {
    /// A daemon that has not started yet.
    pub(crate) fn absent() -> Self {
        let shared = Shared {
            answers: Mutex::default(),
            requests: Mutex::default(),
            revision: watch::Sender::new(0),
            watchers: watch::Sender::new(0),
        };
        Self {
            dir: tempfile::tempdir().unwrap(),
            shared: Arc::new(shared),
        }
    }

    /// A daemon that answers.
    pub(crate) async fn start() -> Self {
        let broker = Self::absent();
        broker.listen();
        tokio::task::yield_now().await;
        broker
    }

    /// Begins to answer.
    pub(crate) fn listen(&self) {
        let listener = UnixListener::bind(self.path()).unwrap();
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                let service = service_fn(move |request| {
                    let response = shared.answer(&request);
                    async { Ok::<_, Infallible>(response) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("broker.sock")
    }

    /// A client of it.
    pub(crate) fn client(&self) -> AgentSocket {
        AgentSocket::new(self.path())
    }

    /// Options that lead to it, and more.
    pub(crate) fn options(&self, more: &[&str]) -> Vec<String> {
        let mut options = vec!["--socket".to_owned(), self.path().display().to_string()];
        options.extend(more.iter().map(ToString::to_string));
        options
    }

    /// What it was asked, in order.
    pub(crate) fn requests(&self) -> Vec<String> {
        lock(&self.shared.requests).clone()
    }

    /// Waits until somebody watches.
    pub(crate) async fn watched(&self) {
        let _ = self
            .shared
            .watchers
            .subscribe()
            .wait_for(|watchers| *watchers > 0)
            .await;
    }

    /// The agent has this token.
    pub(crate) fn set_active(&self, token: &str) {
        self.publish(Answers {
            token: (
                200,
                serde_json::json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3000 })
                    .to_string(),
            ),
            env: format!("GOOGLE_OAUTH_ACCESS_TOKEN={token}\nTOKEN_BROKER_STATE=active\n"),
            status: status("active", ""),
        });
    }

    /// The agent has no token, for this reason.
    pub(crate) fn set_state(&self, state: &str, message: &str) {
        let problem = serde_json::json!({ "status": 403, "code": state, "detail": message });
        self.publish(Answers {
            token: (403, problem.to_string()),
            env: format!("TOKEN_BROKER_STATE={state}\n"),
            status: status(state, message),
        });
    }

    /// `/v1/token` answers this problem.
    pub(crate) fn set_problem(&self, status: u16, body: &str) {
        self.publish(Answers {
            token: (status, body.to_owned()),
            ..Answers::default()
        });
    }

    fn publish(&self, answers: Answers) {
        *lock(&self.shared.answers) = answers;
        self.shared.revision.send_modify(|revision| *revision += 1);
    }
}

fn status(state: &str, message: &str) -> String {
    serde_json::json!({
        "agent": "bot",
        "owner": "alice",
        "state": state,
        "message": message,
        "action_url": null,
        "account": "alice@example.com",
        "capabilities": [{ "key": "google.drive", "state": "granted", "granted": true, "optional": false }],
    })
    .to_string()
}

impl Shared {
    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let target = request.uri().to_string();
        lock(&self.requests).push(target.clone());
        let answers = lock(&self.answers).clone();
        let (code, body) = match request.uri().path() {
            "/v1/watch" => return self.watch(),
            "/v1/token" => answers.token,
            "/v1/env" => (200, answers.env),
            "/v1/status" => (200, answers.status),
            _ => (404, String::new()),
        };
        Response::builder()
            .status(code)
            .body(Full::from(body).boxed())
            .unwrap()
    }

    fn watch(&self) -> Response<Body> {
        let events = WatchStream::new(self.revision.subscribe());
        let events = events.map(|_| Ok(Frame::data(Bytes::from_static(b"event: state\ndata: {}\n\n"))));
        self.watchers.send_modify(|watchers| *watchers += 1);
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(BodyExt::boxed(StreamBody::new(events)))
            .unwrap()
    }
}
