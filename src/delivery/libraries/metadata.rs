//! The GCE metadata protocol, as far as Google's libraries and gcloud use it.
//!
//! `?scopes=` is not looked at, as on Compute Engine: libraries ask for all the scopes of an API, and google-auth
//! asks for ever for the scopes that it was told at first, so that a token narrowed to them would never carry
//! what the owner grants later. `/v1/token?capability=` narrows.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    broker::{AgentHandle, AgentState, Broker, Problem, ProblemCode, TokenGrant, TokenQuery},
    clock::Uptime,
    delivery::{
        body::AgentBody,
        refusal::{Reason, Refusal},
        service::Answer,
    },
    id::AgentName,
};

/// The header by which both sides know that the other means this protocol.
pub(in crate::delivery) const FLAVOR: &str = "metadata-flavor";
const GOOGLE: HeaderValue = HeaderValue::from_static("Google");
/// google-auth gives up on an answer after 3 s, and asks again.
const PATIENCE: Duration = Duration::from_secs(2);
/// What all paths but `/` begin with.
const ROOT: &str = "/computeMetadata";

/// Whom a request speaks for, and what the answers need.
#[derive(Clone)]
pub(in crate::delivery) struct Desk {
    pub(in crate::delivery) broker: Arc<Broker>,
    pub(in crate::delivery) agent: Arc<AgentHandle>,
    pub(in crate::delivery) project_id: Arc<str>,
}

/// True for a request that means this protocol, on a socket that speaks others too.
pub(in crate::delivery) fn is_meant<B>(request: &Request<B>) -> bool {
    match request.uri().path() {
        "/" => request.headers().contains_key(FLAVOR),
        path => path
            .strip_prefix(ROOT)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    }
}

/// Why a request is none of this protocol; `None` when it is one.
pub(in crate::delivery) fn objection<B>(request: &Request<B>) -> Option<Refusal> {
    let headers = request.headers();
    if request.method() != Method::GET {
        let detail = format!("{} is not allowed here, only GET.", request.method());
        return Some(Refusal::new(Reason::MethodNotAllowed, detail));
    }
    // What a program was talked into fetching, or a proxy passes on, is not the agent's own question.
    if headers.contains_key("x-forwarded-for") {
        let detail = "A request that came through a proxy (X-Forwarded-For) gets nothing here.";
        return Some(Refusal::new(Reason::NotOurs, detail));
    }
    if !has_flavor(headers) {
        let detail = "The header `Metadata-Flavor: Google` is missing.";
        return Some(Refusal::new(Reason::NotOurs, detail));
    }
    None
}

fn has_flavor(headers: &HeaderMap) -> bool {
    headers
        .get(FLAVOR)
        .is_some_and(|flavor| flavor.as_bytes().eq_ignore_ascii_case(GOOGLE.as_bytes()))
}

/// Answers a request.
pub(in crate::delivery) fn answer<B>(desk: &Desk, request: &Request<B>) -> Answer {
    if let Some(refusal) = objection(request) {
        return Answer::now(refused(refusal));
    }
    let path = request.uri().path();
    match Resource::at(path, desk.agent.name()) {
        Some(Resource::Token) => {
            let desk = desk.clone();
            Answer::Later(Box::pin(
                async move { desk.token().await.unwrap_or_else(refused) },
            ))
        }
        Some(Resource::Account) => {
            let recursive = request.uri().query().is_some_and(is_recursive);
            Answer::now(desk.account(recursive))
        }
        Some(resource) => Answer::now(text(StatusCode::OK, &desk.show(&resource))),
        None => Answer::now(refused(nothing_here())),
    }
}

/// The path is not repeated: what is asked for wrongly may be a secret.
pub(in crate::delivery) fn nothing_here() -> Refusal {
    let detail = "There is nothing at this path, but a token at \
                  /computeMetadata/v1/instance/service-accounts/default/token.";
    Refusal::new(Reason::NotFound, detail)
}

fn is_recursive(query: &str) -> bool {
    url::form_urlencoded::parse(query.as_bytes())
        .any(|(name, value)| name == "recursive" && value.eq_ignore_ascii_case("true"))
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resource {
    /// The names of what lies below a path.
    Listing(&'static str),
    ProjectId,
    NumericProjectId,
    UniverseDomain,
    Accounts,
    Account,
    Aliases,
    Email,
    Scopes,
    Token,
}

impl Resource {
    /// What is at a path; `None` for nothing, which identity tokens are, too: people have none here.
    fn at(path: &str, agent: &AgentName) -> Option<Self> {
        if path == "/" {
            return Some(Self::Listing("computeMetadata/\n"));
        }
        let rest = path.strip_prefix(ROOT)?;
        let segments: Vec<&str> = rest.split('/').filter(|segment| !segment.is_empty()).collect();
        Some(match segments.as_slice() {
            [] => Self::Listing("v1/\n"),
            ["v1"] => Self::Listing("instance/\nproject/\nuniverse/\n"),
            ["v1", "instance"] => Self::Listing("service-accounts/\n"),
            ["v1", "project"] => Self::Listing("numeric-project-id\nproject-id\n"),
            ["v1", "project", "project-id"] => Self::ProjectId,
            ["v1", "project", "numeric-project-id"] => Self::NumericProjectId,
            ["v1", "universe"] => Self::Listing("universe-domain\n"),
            ["v1", "universe", "universe-domain" | "universe_domain"] => Self::UniverseDomain,
            ["v1", "instance", "service-accounts"] => Self::Accounts,
            ["v1", "instance", "service-accounts", who, rest @ ..] if is_account(who, agent) => match rest {
                [] => Self::Account,
                ["aliases"] => Self::Aliases,
                ["email"] => Self::Email,
                ["scopes"] => Self::Scopes,
                ["token"] => Self::Token,
                _ => return None,
            },
            _ => return None,
        })
    }
}

/// `default`, or the address that we give out.
fn is_account(name: &str, agent: &AgentName) -> bool {
    let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    name == "default" || name == email(agent)
}

/// The address of the service account that an agent seems to be. It does not end in `gserviceaccount.com`:
/// google-auth would send the token on to look that account up. And it stays the same, whoever connects which
/// account: libraries keep it and put it into paths.
fn email(agent: &AgentName) -> String {
    format!("{agent}@token-broker.internal")
}

impl Desk {
    fn show(&self, resource: &Resource) -> String {
        let email = || email(self.agent.name());
        match resource {
            Resource::Listing(names) => (*names).to_owned(),
            Resource::ProjectId => self.project_id.to_string(),
            // No project has this number, and it is made of digits.
            Resource::NumericProjectId => "0".to_owned(),
            Resource::UniverseDomain => "googleapis.com".to_owned(),
            Resource::Accounts => format!("default/\n{}/\n", email()),
            Resource::Account => "aliases\nemail\nscopes\ntoken\n".to_owned(),
            Resource::Aliases => "default\n".to_owned(),
            Resource::Email => email(),
            Resource::Scopes => self.scopes().into_iter().map(|scope| scope + "\n").collect(),
            Resource::Token => String::new(),
        }
    }

    /// What the agent's token carries; nothing as long as there is none.
    fn scopes(&self) -> Vec<String> {
        let snapshot = self.agent.snapshot();
        let token = snapshot.living_token(self.broker.uptime());
        token.map_or_else(Vec::new, |token| {
            token.scopes.iter().map(ToString::to_string).collect()
        })
    }

    fn account(&self, recursive: bool) -> Response<AgentBody> {
        #[derive(Serialize)]
        struct Account {
            aliases: [&'static str; 1],
            email: String,
            scopes: Vec<String>,
        }
        if !recursive {
            return text(StatusCode::OK, &self.show(&Resource::Account));
        }
        let account = Account {
            aliases: ["default"],
            email: email(self.agent.name()),
            scopes: self.scopes(),
        };
        let body = serde_json::to_vec(&account).unwrap_or_default();
        respond(StatusCode::OK, body.into(), JSON)
    }

    async fn token(&self) -> Result<Response<AgentBody>, Refusal> {
        let grant = self.obtain().await?;
        let body = token_json(&grant, self.broker.uptime());
        Ok(respond(
            StatusCode::OK,
            bytes::Bytes::from_owner(body).into(),
            JSON,
        ))
    }

    /// A fresh token, or the one at hand where that takes longer than the libraries wait.
    async fn obtain(&self) -> Result<TokenGrant, Refusal> {
        let query = TokenQuery::default();
        let asked = tokio::time::timeout(PATIENCE, self.broker.token(&self.agent, &query)).await;
        if self.agent.is_removed() {
            return Err(Refusal::removed());
        }
        match asked {
            Ok(answer) => Ok(answer?),
            Err(_) => self.broker.at_hand(&self.agent).ok_or_else(too_slow),
        }
    }
}

fn too_slow() -> Refusal {
    Refusal::from(Problem {
        code: ProblemCode::State(AgentState::ProviderUnavailable),
        message: "The provider takes too long to answer; ask again.".to_owned(),
        action_url: None,
        retry_after: None,
    })
}

/// The token as the metadata server and the token endpoint say it (RFC 6749, section 5.1).
pub(super) fn token_json(grant: &TokenGrant, now: Uptime) -> Zeroizing<Vec<u8>> {
    #[derive(Serialize)]
    struct Body<'a> {
        access_token: &'a str,
        expires_in: u64,
        token_type: &'static str,
        scope: &'a str,
    }
    let scope = grant.token.scopes.to_string();
    let body = Body {
        access_token: grant.token.access_token.expose(),
        // Libraries take an integer and nothing else.
        expires_in: grant.token.remaining(now).unwrap_or_default().as_secs(),
        token_type: "Bearer",
        scope: &scope,
    };
    // Enough for the whole text: growing would copy the token about.
    let mut text = Zeroizing::new(Vec::with_capacity(body.access_token.len() + scope.len() + 128));
    // Writing to memory does not fail, and neither does anything in the value.
    let _ = serde_json::to_writer(&mut *text, &body);
    text
}

/// A refusal as the libraries show it: the body's text. Only what passes is worth their asking again, which they
/// do after 429 and 5xx; and 404 would hide the text.
#[expect(
    clippy::needless_pass_by_value,
    reason = "what becomes of a refusal, once and for all"
)]
pub(in crate::delivery) fn refused(refusal: Refusal) -> Response<AgentBody> {
    let status = match refusal.status() {
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::GONE => StatusCode::FORBIDDEN,
        status => status,
    };
    let mut response = text(status, &format!("{}\n", refusal.sentence()));
    refusal.add_headers(response.headers_mut());
    response
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn text(status: StatusCode, body: &str) -> Response<AgentBody> {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    respond(status, AgentBody::from(body.as_bytes().to_vec()), kind)
}

fn respond(status: StatusCode, body: AgentBody, kind: HeaderValue) -> Response<AgentBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(FLAVOR, GOOGLE);
    response
}
