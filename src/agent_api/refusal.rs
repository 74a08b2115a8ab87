//! How a request is refused, in HTTP (RFC 9457) and in gRPC (`google.rpc.ErrorInfo`).

use std::{collections::HashMap, time::Duration};

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use tonic_types::{ErrorDetails, StatusExt};

use super::body::AgentBody;
use crate::broker::{AgentState, Problem, ProblemCode};

/// The `domain` of `google.rpc.ErrorInfo`.
const ERROR_DOMAIN: &str = "token-broker";

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The broker says so.
    Broker(ProblemCode),
    /// The agent is gone.
    AgentRemoved,
    /// The daemon is going down.
    Stopping,
    /// Somebody connected whom the manifest does not name.
    WrongUser,
    /// No such path.
    NotFound,
    /// Another method than GET.
    MethodNotAllowed,
    /// A request that the metadata protocol wants refused.
    NotOurs,
    /// A pod that proves nothing.
    Unproven,
    /// A pod that the manifest does not name.
    WrongPod,
    /// A node that the manifest does not name.
    WrongNode,
    /// There is no agent of the name that a pod or a node asks for.
    UnknownAgent,
    /// Nobody can say whether a pod's token is genuine.
    Unverified,
    /// There is no room for strangers.
    Busy,
}

/// How a reason looks to clients.
struct Form {
    code: &'static str,
    status: StatusCode,
    grpc: tonic::Code,
    title: &'static str,
}

impl Reason {
    /// The one table of codes. Clients rely on it.
    fn form(self) -> Form {
        use StatusCode as S;
        use tonic::Code as G;
        let (code, status, grpc, title) = match self {
            Self::Broker(code) => return Form::of_broker(code),
            Self::AgentRemoved => ("agent_removed", S::GONE, G::NotFound, "The agent was removed"),
            Self::Stopping => (
                "stopping",
                S::SERVICE_UNAVAILABLE,
                G::Unavailable,
                "The daemon is stopping",
            ),
            Self::WrongUser => ("wrong_user", S::FORBIDDEN, G::PermissionDenied, "Wrong user"),
            Self::NotFound => ("not_found", S::NOT_FOUND, G::Unimplemented, "No such path"),
            Self::NotOurs => ("not_allowed", S::FORBIDDEN, G::PermissionDenied, "Not allowed"),
            Self::Unproven => (
                "unauthenticated",
                S::UNAUTHORIZED,
                G::Unauthenticated,
                "Not authenticated",
            ),
            Self::WrongPod => ("wrong_pod", S::FORBIDDEN, G::PermissionDenied, "Wrong pod"),
            Self::WrongNode => ("wrong_node", S::FORBIDDEN, G::PermissionDenied, "Wrong node"),
            Self::UnknownAgent => ("unknown_agent", S::NOT_FOUND, G::NotFound, "Unknown agent"),
            Self::Unverified => (
                "unverified",
                S::SERVICE_UNAVAILABLE,
                G::Unavailable,
                "Nobody can say who asks",
            ),
            Self::Busy => ("busy", S::SERVICE_UNAVAILABLE, G::Unavailable, "Too many ask"),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                S::METHOD_NOT_ALLOWED,
                G::Unimplemented,
                "Method not allowed",
            ),
        };
        Form {
            code,
            status,
            grpc,
            title,
        }
    }
}

/// The HTTP status and the gRPC code of a problem, for the documentation.
#[cfg(test)]
pub(crate) fn refusal_form(code: ProblemCode) -> (u16, tonic::Code) {
    let form = Reason::Broker(code).form();
    (form.status.as_u16(), form.grpc)
}

impl Form {
    fn of_broker(code: ProblemCode) -> Self {
        use StatusCode as S;
        use tonic::Code as G;
        let (status, grpc, title) = match code {
            ProblemCode::State(state) => return Self::of_state(state),
            ProblemCode::UnknownCapability => (S::BAD_REQUEST, G::InvalidArgument, "Unknown capability"),
            ProblemCode::NotDeclared => (S::FORBIDDEN, G::PermissionDenied, "Not declared by the agent"),
            ProblemCode::RateLimited => (S::TOO_MANY_REQUESTS, G::ResourceExhausted, "Asked too often"),
            ProblemCode::InvalidRequest => (S::BAD_REQUEST, G::InvalidArgument, "Invalid request"),
        };
        Self {
            code: code.as_str(),
            status,
            grpc,
            title,
        }
    }

    fn of_state(state: AgentState) -> Self {
        use StatusCode as S;
        use tonic::Code as G;
        let (status, grpc, title) = match state {
            AgentState::NotConnected => (S::FORBIDDEN, G::FailedPrecondition, "No account is connected"),
            AgentState::PermissionMissing => (S::FORBIDDEN, G::PermissionDenied, "A permission is missing"),
            AgentState::ReconnectRequired => (
                S::FORBIDDEN,
                G::FailedPrecondition,
                "The account has to be connected again",
            ),
            AgentState::Revoked => (S::FORBIDDEN, G::PermissionDenied, "Access was withdrawn"),
            AgentState::Misconfigured => (
                S::INTERNAL_SERVER_ERROR,
                G::FailedPrecondition,
                "The operator has to act",
            ),
            // An active agent without a token is one whose token is on its way.
            AgentState::Active | AgentState::ProviderUnavailable => {
                let code = AgentState::ProviderUnavailable.as_str();
                return Self {
                    code,
                    status: S::SERVICE_UNAVAILABLE,
                    grpc: G::Unavailable,
                    title: "No token can be had at the moment",
                };
            }
        };
        Self {
            code: state.as_str(),
            status,
            grpc,
            title,
        }
    }
}

/// A refused request.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    detail: String,
    pub(crate) action_url: Option<String>,
    retry_after: Option<Duration>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let mut refusal = Self::new(Reason::Broker(problem.code), problem.message);
        refusal.action_url = problem.action_url;
        refusal.retry_after = problem.retry_after;
        if refusal.detail.is_empty() {
            "No token is there yet; ask again in a moment.".clone_into(&mut refusal.detail);
        }
        refusal
    }
}

impl Refusal {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            action_url: None,
            retry_after: None,
        }
    }

    /// The request itself is wrong.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Reason::Broker(ProblemCode::InvalidRequest), detail)
    }

    /// The agent is gone.
    pub(crate) fn removed() -> Self {
        Self::new(
            Reason::AgentRemoved,
            "The agent was removed; this socket leads nowhere any more.",
        )
    }

    /// The daemon is going down.
    pub(crate) fn stopping() -> Self {
        Self::new(
            Reason::Stopping,
            "The daemon is stopping; connect again in a moment.",
        )
    }

    /// There is no room for strangers at the moment.
    pub(crate) fn busy() -> Self {
        let mut refusal = Self::new(
            Reason::Busy,
            "Too many requests wait to have their pods' tokens reviewed; ask again in a moment.",
        );
        refusal.retry_after = Some(Duration::from_secs(1));
        refusal
    }

    /// Somebody holds as much as one may; `detail` says of what.
    pub(crate) fn too_many(detail: impl Into<String>) -> Self {
        Self::new(Reason::Broker(ProblemCode::RateLimited), detail)
    }

    /// `uid` connected, whom the manifest does not name.
    pub(crate) fn wrong_user(uid: u32) -> Self {
        let who = if uid == u32::MAX {
            "A user that the system cannot name".to_owned()
        } else {
            format!("uid {uid}")
        };
        let detail =
            format!("{who} may not use this socket: it belongs to the uid that the agent's manifest names.");
        Self::new(Reason::WrongUser, detail)
    }

    /// Its status over HTTP.
    pub(crate) fn status(&self) -> StatusCode {
        self.reason.form().status
    }

    /// Code and sentence in one line, for clients that show a text and nothing else.
    pub(crate) fn diagnosis(&self) -> String {
        format!("{}: {}", self.reason.form().code, self.detail)
    }

    /// The same with the address where a person can fix it.
    pub(crate) fn sentence(&self) -> String {
        match &self.action_url {
            Some(url) => format!("{} See {url}", self.diagnosis()),
            None => self.diagnosis(),
        }
    }

    /// When it is worth asking again, as the header says it.
    pub(crate) fn retry_after(&self) -> Option<HeaderValue> {
        self.retry_after
            .map(|wait| HeaderValue::from(whole_seconds(wait)))
    }

    /// What there is to say in headers.
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) {
        if let Some(wait) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, wait);
        }
        if self.reason == Reason::Unproven {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.reason == Reason::MethodNotAllowed {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
    }

    /// As problem details (RFC 9457).
    pub(crate) fn problem_details(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Body<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            code: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            action_url: Option<&'a str>,
        }
        let form = self.reason.form();
        let body = Body {
            r#type: format!("urn:token-broker:problem:{}", form.code),
            title: form.title,
            status: form.status.as_u16(),
            detail: &self.detail,
            code: form.code,
            action_url: self.action_url.as_deref(),
        };
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// As `application/problem+json`.
    pub(crate) fn into_http(self) -> Response<AgentBody> {
        let form = self.reason.form();
        let mut response = Response::new(AgentBody::from(self.problem_details()));
        *response.status_mut() = form.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self.add_headers(headers);
        response
    }

    /// As a status with `google.rpc.ErrorInfo`, and `RetryInfo` where it is known when to ask again.
    pub(crate) fn into_grpc(self) -> tonic::Status {
        let form = self.reason.form();
        let metadata: HashMap<_, _> = self
            .action_url
            .map(|url| ("action_url".to_owned(), url))
            .into_iter()
            .collect();
        let mut details = ErrorDetails::with_error_info(form.code, ERROR_DOMAIN, metadata);
        if let Some(wait) = self.retry_after {
            details.set_retry_info(Some(Duration::from_secs(whole_seconds(wait))));
        }
        tonic::Status::with_error_details(form.grpc, self.detail, details)
    }
}

/// Rounded up: asking a moment too early is refused again.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::broker::problem::ProblemCause;

    async fn body(refusal: Refusal) -> (http::response::Parts, String) {
        let (parts, body) = refusal.into_http().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts, String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn reconnect() -> Problem {
        Problem {
            code: ProblemCode::State(AgentState::ReconnectRequired),
            cause: ProblemCause::State,
            message: "Google refused the grant.".to_owned(),
            action_url: Some("http://127.0.0.1:8420/fix/a".to_owned()),
            retry_after: None,
        }
    }

    #[tokio::test]
    async fn a_problem_is_what_rfc_9457_says() {
        let (parts, body) = body(reconnect().into()).await;
        assert_eq!(parts.status, 403);
        assert_eq!(parts.headers["content-type"], "application/problem+json");
        assert_eq!(parts.headers["cache-control"], "no-store");
        insta::assert_snapshot!(body, @r#"{"type":"urn:token-broker:problem:reconnect_required","title":"The account has to be connected again","status":403,"detail":"Google refused the grant.","code":"reconnect_required","action_url":"http://127.0.0.1:8420/fix/a"}"#);
    }

    #[tokio::test]
    async fn retry_after_is_rounded_up() {
        let problem = Problem {
            code: ProblemCode::RateLimited,
            cause: ProblemCause::Request,
            message: "Too often.".to_owned(),
            action_url: None,
            retry_after: Some(Duration::from_millis(1200)),
        };
        let (parts, _) = body(problem.clone().into()).await;
        assert_eq!(
            (parts.status.as_u16(), &parts.headers["retry-after"]),
            (429, &"2".parse().unwrap())
        );
        let status = Refusal::from(problem).into_grpc();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        let retry = status.get_details_retry_info().unwrap();
        assert_eq!(retry.retry_delay, Some(Duration::from_secs(2)));
    }

    #[test]
    fn grpc_carries_the_same_code() {
        let status = Refusal::from(reconnect()).into_grpc();
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (&*info.reason, &*info.domain),
            ("reconnect_required", "token-broker")
        );
        assert_eq!(info.metadata["action_url"], "http://127.0.0.1:8420/fix/a");
    }

    #[tokio::test]
    async fn an_active_agent_whose_token_is_on_its_way_is_told_to_come_again() {
        let problem = Problem {
            code: ProblemCode::State(AgentState::Active),
            cause: ProblemCause::State,
            message: String::new(),
            action_url: None,
            retry_after: None,
        };
        let (parts, body) = body(problem.into()).await;
        assert_eq!(parts.status, 503);
        assert!(body.contains("\"code\":\"provider_unavailable\""), "{body}");
        assert!(body.contains("ask again"), "{body}");
    }
}
