//! The GCE metadata protocol, as far as Google's libraries and gcloud use it.
//!
//! `?scopes=` is not looked at, as on Compute Engine: libraries ask for all the scopes of an API, and google-auth
//! asks for ever for the scopes that it was told at first, so that a token narrowed to them would never carry
//! what the owner grants later. `/v1/token?capability=` narrows.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use serde::Serialize;
use zeroize::Zeroizing;

use super::metadata_tree::{Alt, Entry, Form, lines};
use crate::{
    agent_api::{
        answer::Answer,
        body::AgentBody,
        google_compat::wanted,
        holder::Holder,
        holding::Holdings,
        refusal::{Reason, Refusal},
    },
    broker::{AgentHandle, AgentState, Broker, ProblemCode, TokenGrant},
    clock::Uptime,
};

/// The header by which both sides know that the other means this protocol.
pub(crate) const FLAVOR: &str = "metadata-flavor";
/// The name under which a machine's own account is always known.
const DEFAULT: &str = "default";
const GOOGLE: HeaderValue = HeaderValue::from_static("Google");
/// google-auth gives up on an answer after 3 s, and asks again.
const PATIENCE: Duration = Duration::from_secs(2);
/// The one folder of the root.
const ROOT: &str = "computeMetadata";

/// Whom a request speaks for, and what the answers need.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) broker: Arc<Broker>,
    pub(crate) agent: Arc<AgentHandle>,
    pub(crate) project_id: Arc<str>,
    pub(crate) holdings: Arc<Holdings>,
}

/// True for a request that means this protocol, on a socket that speaks others too.
pub(crate) fn is_meant<B>(request: &Request<B>) -> bool {
    match request.uri().path() {
        "/" => request.headers().contains_key(FLAVOR),
        path => path
            .strip_prefix('/')
            .and_then(|path| path.strip_prefix(ROOT))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    }
}

/// Why a request is none of this protocol; `None` when it is one.
///
/// gRPC's C core probes `/` without the header and takes no other answer than 200 for a metadata server. There is
/// nothing at that path but the name of the next one.
pub(crate) fn objection<B>(request: &Request<B>) -> Option<Refusal> {
    let headers = request.headers();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let detail = format!("{} is not allowed here, only GET and HEAD.", request.method());
        return Some(Refusal::new(Reason::MethodNotAllowed, detail));
    }
    // What a program was talked into fetching, or a proxy passes on, is not the agent's own question.
    if headers.contains_key("x-forwarded-for") {
        let detail = "A request that came through a proxy (X-Forwarded-For) gets nothing here.";
        return Some(Refusal::new(Reason::NotOurs, detail));
    }
    if !has_flavor(headers) && request.uri().path() != "/" {
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
pub(crate) fn answer<B>(desk: &Desk, request: &Request<B>) -> Answer {
    if let Some(refusal) = objection(request) {
        return Answer::now(refused(refusal));
    }
    if let Some(response) = desk.facts().answer(request.uri()) {
        return Answer::now(response);
    }
    let desk = desk.clone();
    Answer::Later(Box::pin(
        async move { desk.token().await.unwrap_or_else(refused) },
    ))
}

/// An entry in the form that the query asks for.
fn show(entry: &Entry, query: &str) -> Result<Response<AgentBody>, Refusal> {
    let Form { recursive, alt } = Form::read(query)?;
    let as_json = |value| {
        let body = serde_json::to_vec(&value).unwrap_or_default();
        respond(StatusCode::OK, body.into(), JSON)
    };
    Ok(match (entry, recursive, alt) {
        (Entry::Folder(_), true, Some(Alt::Text)) => text(StatusCode::OK, &lines(&entry.leaves())),
        (Entry::Folder(_), false, Some(Alt::Json)) => as_json(entry.names().into()),
        (Entry::Folder(_), false, _) => text(StatusCode::OK, &lines(&entry.names())),
        (Entry::Folder(_), true, _) | (_, _, Some(Alt::Json)) => as_json(entry.json()),
        _ => text(StatusCode::OK, &entry.text()),
    })
}

/// The path is not repeated: what is asked for wrongly may be a secret.
pub(crate) fn nothing_here() -> Refusal {
    let detail = "There is nothing at this path, but a token at \
                  /computeMetadata/v1/instance/service-accounts/default/token.";
    Refusal::new(Reason::NotFound, detail)
}

/// The address of the service account that an agent seems to be. It does not end in `gserviceaccount.com`:
/// google-auth would send the token on to look that account up. And it stays the same, whoever connects which
/// account: libraries keep it and put it into paths.
fn email(agent: &str) -> String {
    format!("{agent}@token-broker.internal")
}

/// What this protocol tells of an agent, but for its token.
pub(crate) struct Facts<'a> {
    pub(crate) agent: &'a str,
    /// What the agent's token carries.
    pub(crate) scopes: Vec<String>,
    pub(crate) project_id: &'a str,
}

impl Facts<'_> {
    /// The answer to a question that is no question for a token; `None` for one that is.
    pub(crate) fn answer(self, target: &Uri) -> Option<Response<AgentBody>> {
        match self.root().at(target.path()) {
            Some(Entry::Token) => None,
            Some(entry) => Some(show(&entry, target.query().unwrap_or_default()).unwrap_or_else(refused)),
            None => Some(refused(nothing_here())),
        }
    }

    /// All that can be asked for. Identity tokens cannot: people have none here.
    fn root(self) -> Entry {
        let email = email(self.agent);
        let account = Entry::folder([
            ("aliases", Entry::Lines(vec![DEFAULT.to_owned()])),
            ("email", Entry::Text(email.clone())),
            ("scopes", Entry::Lines(self.scopes)),
            ("token", Entry::Token),
        ]);
        // Java's library looks an account up by its address in what `recursive=true` gives.
        let accounts = Entry::folder([(DEFAULT, account.clone()), (&*email, account)]);
        let project = Entry::folder([
            // No project has this number, and it is made of digits.
            ("numeric-project-id", Entry::Number(0)),
            ("project-id", Entry::Text(self.project_id.to_owned())),
        ]);
        let universe = Entry::Text("googleapis.com".to_owned());
        let version = Entry::folder([
            ("instance", Entry::folder([("service-accounts", accounts)])),
            ("project", project),
            ("universe", Entry::folder([("universe-domain", universe)])),
        ]);
        Entry::folder([(ROOT, Entry::folder([("v1", version)]))])
    }
}

impl Desk {
    fn facts(&self) -> Facts<'_> {
        Facts {
            agent: self.agent.name().as_str(),
            scopes: self.scopes(),
            project_id: &self.project_id,
        }
    }

    /// What the agent's token carries; nothing as long as there is none.
    fn scopes(&self) -> Vec<String> {
        let snapshot = self.agent.snapshot();
        let view = snapshot.for_google_libraries();
        let token = view.and_then(|view| view.living_token(self.broker.uptime()));
        token.map_or_else(Vec::new, |token| {
            token.scopes.iter().map(ToString::to_string).collect()
        })
    }

    async fn token(&self) -> Result<Response<AgentBody>, Refusal> {
        let grant = self.obtain().await?;
        let body = token_json(&grant, None, self.broker.uptime());
        Ok(respond(
            StatusCode::OK,
            bytes::Bytes::from_owner(body).into(),
            JSON,
        ))
    }

    /// A fresh token, or the one at hand where that takes longer than the libraries wait.
    async fn obtain(&self) -> Result<TokenGrant, Refusal> {
        let query = wanted::token(&self.broker, &self.agent);
        let holder = Holder::of(&self.agent);
        let asked = self.holdings.obtain(&self.broker, &self.agent, &holder, &query);
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answer) => answer,
            Err(_) if self.agent.is_removed() => Err(Refusal::removed()),
            Err(_) => {
                let provider = wanted::provider(&self.broker, &self.agent);
                let at_hand = self.broker.issuer.at_hand(&self.agent, &provider);
                at_hand.ok_or_else(too_slow)
            }
        }
    }
}

fn too_slow() -> Refusal {
    let reason = Reason::Broker(ProblemCode::State(AgentState::ProviderUnavailable));
    Refusal::new(reason, "The provider takes too long to answer; ask again.")
}

/// The token as the metadata server and the token endpoint say it (RFC 6749, section 5.1); the answer to a token
/// exchange names the type of what was issued as well (RFC 8693, section 2.2.1).
pub(super) fn token_json(
    grant: &TokenGrant,
    issued_type: Option<&'static str>,
    now: Uptime,
) -> Zeroizing<Vec<u8>> {
    #[derive(Serialize)]
    struct Body<'a> {
        access_token: &'a str,
        expires_in: u64,
        token_type: &'static str,
        scope: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        issued_token_type: Option<&'static str>,
    }
    let scope = grant.token.scopes.to_string();
    let body = Body {
        access_token: grant.token.access_token.expose(),
        // Libraries take an integer and nothing else.
        expires_in: grant.token.remaining(now).unwrap_or_default().as_secs(),
        token_type: "Bearer",
        scope: &scope,
        issued_token_type: issued_type,
    };
    // Enough for the whole text: growing would copy the token about.
    let mut text = Zeroizing::new(Vec::with_capacity(body.access_token.len() + scope.len() + 192));
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
pub(crate) fn refused(refusal: Refusal) -> Response<AgentBody> {
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
