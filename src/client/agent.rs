//! An agent's own socket, as the agent's programs see it: HTTP/1.1, one request per connection.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

use super::exit::{Exit, Failure};
use crate::text::ShowPath;

/// Where an agent finds its socket: its directory is mounted there by convention.
pub(crate) const DEFAULT_SOCKET: &str = "/run/token-broker/broker.sock";
/// A renewal waits for the provider; the daemon gives up well before this.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// The daemon says on a stream every 15 s that it is still there.
const STREAM_SILENCE: Duration = Duration::from_secs(60);
/// Far more than any answer of the daemon.
const MAX_BODY: usize = 1024 * 1024;

/// A client of one agent's socket.
#[derive(Debug, Clone)]
pub(crate) struct AgentSocket {
    path: PathBuf,
}

impl AgentSocket {
    /// A client of the socket at `path`.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Asks for `target` (path and query). A problem that the daemon answers with is a failure.
    pub(crate) async fn get(&self, target: &str) -> Result<Bytes, Failure> {
        let exchange = async {
            let response = self.request(target, "*/*").await?;
            let status = response.status();
            let body = self.body(response).await?;
            if status.is_success() {
                Ok(body)
            } else {
                Err(problem(status, &body))
            }
        };
        tokio::time::timeout(ANSWER_LIMIT, exchange)
            .await
            .unwrap_or_else(|_| Err(self.silent()))
    }

    /// Opens the stream of changes.
    pub(crate) async fn watch(&self) -> Result<Changes, Failure> {
        let response = tokio::time::timeout(ANSWER_LIMIT, self.request("/v1/watch", "text/event-stream"));
        let response = response.await.unwrap_or_else(|_| Err(self.silent()))?;
        let status = response.status();
        if status.is_success() {
            Ok(Changes(response.into_body()))
        } else {
            let body = self.body(response).await?;
            Err(problem(status, &body))
        }
    }

    async fn request(&self, target: &str, accept: &str) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|error| unreachable(&self.path, &error))?;
        let lost = |error: hyper::Error| self.lost(&error);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(lost)?;
        // Ends with the exchange; what goes wrong shows in the exchange itself.
        tokio::spawn(connection);
        let request = Request::get(target)
            .header(header::HOST, "broker")
            .header(header::ACCEPT, accept)
            .header(
                header::USER_AGENT,
                concat!("token-broker/", env!("CARGO_PKG_VERSION")),
            )
            .body(Empty::<Bytes>::new())
            .map_err(|error| Failure::usage(format!("`{target}` cannot be asked for: {error}")))?;
        sender.send_request(request).await.map_err(lost)
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Bytes, Failure> {
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        body.map(http_body_util::Collected::to_bytes)
            .map_err(|error| self.lost(&*error))
    }

    fn lost(&self, error: &dyn std::error::Error) -> Failure {
        let path = self.path.shown();
        Failure::new(
            Exit::Unreachable,
            format!("the daemon broke the connection on {path}: {error}"),
        )
    }

    /// What is said when somebody waits no longer for the first answer.
    pub(crate) fn unanswered(&self) -> Failure {
        let message = format!("the daemon has not answered on {}", self.path.shown());
        Failure::new(Exit::Unreachable, message)
    }

    fn silent(&self) -> Failure {
        let (path, limit) = (self.path.shown(), ANSWER_LIMIT.as_secs());
        Failure::new(
            Exit::Unreachable,
            format!("the daemon did not answer on {path} within {limit} s"),
        )
    }
}

/// The stream of changes (server-sent events). What an event says is asked for again where it matters, so
/// only that one came is of interest.
pub(crate) struct Changes(Incoming);

impl Changes {
    /// Waits for the next change; `None` when the stream ended, or when the daemon says nothing any more.
    pub(crate) async fn next(&mut self) -> Option<()> {
        loop {
            let frame = tokio::time::timeout(STREAM_SILENCE, self.0.frame()).await;
            let frame = frame.ok()??.ok()?;
            // A comment keeps the connection alive and is no event.
            if frame
                .data_ref()
                .is_some_and(|data| !data.is_empty() && !data.starts_with(b":"))
            {
                return Some(());
            }
        }
    }
}

/// Problem details as the daemon writes them (RFC 9457).
#[derive(Default, Deserialize)]
#[serde(default)]
struct ProblemDetails {
    code: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    action_url: Option<String>,
}

fn problem(status: StatusCode, body: &[u8]) -> Failure {
    let details: ProblemDetails = serde_json::from_slice(body).unwrap_or_default();
    let code = details.code.unwrap_or_default();
    let exit = Exit::for_reason(&code).unwrap_or(match status {
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Exit::TryLater,
        StatusCode::BAD_REQUEST => Exit::Usage,
        _ => Exit::Failed,
    });
    let sentence = details.detail.or(details.title).filter(|text| !text.is_empty());
    let sentence = sentence.unwrap_or_else(|| format!("the daemon answered {status}"));
    Failure::new(exit, sentence)
        .with_reason(code)
        .with_action_url(details.action_url.unwrap_or_default())
}

fn unreachable(socket: &Path, error: &io::Error) -> Failure {
    let path = socket.shown();
    let message = match error.kind() {
        io::ErrorKind::NotFound => format!(
            "there is no socket {path}: in a container, mount the agent's directory at /run/token-broker; on the \
             node, name the agent with --agent; and the daemon has to run"
        ),
        io::ErrorKind::ConnectionRefused => {
            format!("nobody answers on the socket {path}: the daemon is not running, or has not started yet")
        }
        io::ErrorKind::PermissionDenied => format!(
            "this user (uid {}) may not open the socket {path}: it is for the uid and gid in the agent's manifest",
            rustix::process::geteuid().as_raw()
        ),
        _ => format!("the agent's socket {path} cannot be opened: {error}"),
    };
    Failure::new(Exit::Unreachable, message)
}

#[cfg(test)]
mod tests {
    use super::{super::testing::FakeBroker, *};

    #[tokio::test]
    async fn a_problem_is_a_sentence_with_code_and_address() {
        let broker = FakeBroker::start().await;
        broker.set_problem(
            403,
            r#"{"type":"about:blank","title":"Permission missing","status":403,"code":"permission_missing",
                "detail":"alice has not granted google.drive","action_url":"http://127.0.0.1:8420/agents/bot"}"#,
        );
        let failure = broker.client().get("/v1/token").await.unwrap_err();
        assert_eq!(failure.exit, Exit::NeedsPerson);
        assert_eq!(failure.message, "alice has not granted google.drive");
        assert_eq!(
            failure.action_url.as_deref(),
            Some("http://127.0.0.1:8420/agents/bot")
        );
    }

    #[test]
    fn an_answer_that_is_no_problem_document_goes_by_its_status() {
        assert_eq!(problem(StatusCode::NOT_FOUND, b"<html>").exit, Exit::NotFound);
        let body = br#"{"code":"brand_new","title":"Later","detail":null,"action_url":null}"#;
        let failure = problem(StatusCode::SERVICE_UNAVAILABLE, body);
        assert_eq!(
            (failure.exit, failure.message.as_str()),
            (Exit::TryLater, "Later")
        );
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let client = AgentSocket::new(dir.path().join("broker.sock"));
        let failure = client.get("/v1/token").await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable);
        assert!(failure.message.contains("--agent"), "{failure}");
    }
}
