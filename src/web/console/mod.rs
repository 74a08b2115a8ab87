//! The console: where people connect accounts, see what agents may do, and disconnect.

mod activity;
mod agents;
mod connect;
mod deed;
mod disconnect;
mod form;
mod frame;
mod health;
mod integrations;
mod live;
mod message;
mod picture;
mod service_account;
mod shares;
mod sign_in;
mod visitor;
mod words;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header, request::Parts};
use hyper::{body::Body, header::HeaderValue};
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    answer::{Answer, html, redirect, text, typed, wrong_method},
    help as pages,
    sentence::sentence,
};
use crate::{
    broker::{AgentState, Broker, SignIn},
    budget::Refusals,
    config::ProxySection,
    help,
    id::{IntegrationId, OwnerId},
    session::{BrowserId, Session, Sessions},
};

#[cfg(fuzzing)]
pub(super) use form::fuzz;
use form::{Form, TOKEN_FIELD, is_of_own_page};
use frame::{Frame, Tab};
pub use health::HealthFacts;
use message::Message;
use shares::Shares;
use visitor::Visitors;

/// Where the console is, below the daemon's own address.
const ROOT: &str = "/console";
/// The console's own script and style sheet, and nothing inline; its forms lead to itself.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";
const STYLE: &str = include_str!("../../../templates/web/console/style.css");
const SCRIPT: &str = include_str!("../../../templates/web/console/script.js");

/// What the console is told once.
pub struct ConsoleOptions {
    /// How a browser reaches the daemon.
    pub public_url: Url,
    /// Who says who people are, where that is a proxy.
    pub proxy: Option<ProxySection>,
}

/// The console.
pub struct Console {
    broker: Arc<Broker>,
    visitors: Visitors,
    /// The path before [`ROOT`], where a proxy takes one away.
    prefix: String,
    origin: String,
    facts: HealthFacts,
    shares: Shares,
    /// Pages that could not be shown.
    unreadable: Refusals,
    shutdown: CancellationToken,
}

/// A request by somebody who is signed in.
struct Asked<'a> {
    session: &'a Session,
    query: Form,
    shutdown: &'a CancellationToken,
}

/// What is answered to a request that cannot be followed.
enum Refusal {
    /// There is no such thing, or it is somebody else's.
    NotFound,
    /// Something is wrong, in words.
    Message(Box<Message>),
}

impl From<Message> for Refusal {
    fn from(message: Message) -> Self {
        Self::Message(Box::new(message))
    }
}

impl Console {
    /// The console of this broker's accounts and agents.
    pub fn new(
        broker: Arc<Broker>,
        sessions: Arc<Sessions>,
        options: ConsoleOptions,
        facts: HealthFacts,
        shutdown: CancellationToken,
    ) -> Self {
        let url = &options.public_url;
        Self {
            broker,
            visitors: Visitors::new(sessions, options.proxy, url),
            prefix: url.path().trim_end_matches('/').to_owned(),
            origin: url.origin().ascii_serialization(),
            facts,
            shares: Shares::default(),
            unreadable: Refusals::new("pages of the console could not read the database"),
            shutdown,
        }
    }

    /// The addresses of the proxy that says who people are.
    pub(super) fn proxy_addresses(&self) -> &[IpNet] {
        self.visitors.proxy_addresses()
    }

    /// True for the addresses of the console.
    pub(super) fn serves(path: &str) -> bool {
        path.strip_prefix(ROOT)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The address of one of its pages.
    pub(super) fn address(&self, page: &str) -> String {
        format!("{}{ROOT}/{page}", self.prefix)
    }

    /// Where a browser goes that has connected an account.
    pub(super) fn connected(&self, account: &IntegrationId) -> String {
        self.address(&format!("integrations?done=connected&account={account}"))
    }

    /// The session that a browser has open.
    pub(super) fn session(&self, request: &Parts) -> Option<Session> {
        self.visitors.session(request)
    }

    /// The browser, and the cookie by which it is known for some time from now on.
    pub(super) fn browser(&self, request: &Parts) -> (BrowserId, Option<HeaderValue>) {
        self.visitors.browser(request)
    }

    /// Answers one request.
    pub(super) async fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (request, body) = request.into_parts();
        let path = request.uri.path().strip_prefix(ROOT).unwrap_or_default();
        let path = path.trim_start_matches('/').to_owned();
        let visitor = self.visitors.visitor(&request);
        let session = visitor.session.as_ref();
        if let Some(session) = session.filter(|_| visitor.arrived) {
            self.broker
                .journal
                .note_sign_in(&session.admission, SignIn::Proxy);
        }
        // Held until the answer is made.
        let share = session.map(|session| self.shares.request(session)).transpose();
        let mut answer = match (&request.method, path.as_str()) {
            _ if share.is_err() => self.too_much_at_once(session),
            (&Method::GET | &Method::HEAD, "style.css") => asset("text/css; charset=utf-8", STYLE),
            (&Method::GET | &Method::HEAD, "script.js") => asset("text/javascript; charset=utf-8", SCRIPT),
            (&Method::GET | &Method::HEAD, page) => self.get(session, &request, page).await,
            (&Method::POST, page) => self.post(session, &request, page, body).await,
            _ => wrong_method("GET, HEAD, POST"),
        };
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        // Without any, a browser names no origin with the forms that it sends.
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        if let Some(cookie) = visitor.cookie {
            headers.entry(header::SET_COOKIE).or_insert(cookie);
        }
        answer
    }

    fn too_much_at_once(&self, session: Option<&Session>) -> Answer {
        let message = Message::new("Too much at once")
            .says("You have as many requests under way as one person may. Nothing was changed: wait until some have ended.");
        let mut answer = self.show_message(StatusCode::TOO_MANY_REQUESTS, session, message);
        let headers = answer.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        answer
    }

    async fn get(&self, session: Option<&Session>, request: &Parts, path: &str) -> Answer {
        let query = Form::of_query(request);
        if path == "sign-in" {
            return self.show_invitation(session, &query);
        }
        let Some(session) = session else {
            return self.show_sign_in(path);
        };
        let asked = Asked {
            session,
            query,
            shutdown: &self.shutdown,
        };
        let parts: Vec<&str> = path.split('/').collect();
        let answer = match parts.as_slice() {
            [""] => Ok(redirect(&self.address("integrations"))),
            ["integrations"] => self.integrations(&asked),
            ["integrations", id, "disconnect"] => self.ask_to_disconnect(&asked, id),
            ["connect"] => self.choose_capabilities(&asked),
            ["service-account"] => self.choose_key(&asked),
            ["agents"] => self.agents(&asked),
            ["agents", name] => self.agent(&asked, name),
            ["activity"] => self.activity(&asked).await,
            ["health"] => self.health(&asked).await,
            ["events"] => Ok(self.events(&asked)),
            _ => Err(Refusal::NotFound),
        };
        answer.unwrap_or_else(|refusal| self.refuse(session, refusal))
    }

    async fn post<B>(&self, session: Option<&Session>, request: &Parts, path: &str, body: B) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if !is_of_own_page(request, &self.origin) {
            let message = Message::new("This form was sent by another site")
                .says("Nothing was changed. Open the console itself, and do it there.");
            return self.show_message(StatusCode::FORBIDDEN, session, message);
        }
        let Some(form) = Form::read(&request.headers, body).await else {
            let message = Message::new("The form did not arrive")
                .says("It is too large, or the connection broke off. Nothing was changed.");
            return self.show_message(StatusCode::BAD_REQUEST, session, message);
        };
        if path == "sign-in" {
            return self.sign_in(session, &form);
        }
        let Some(session) = session else {
            return self.show_sign_in("");
        };
        if !session.sent(form.get(TOKEN_FIELD)) {
            let message = Message::new("This page was out of date").says(
                "It was opened before you signed in last. Nothing was changed: open it again, and repeat what you did.",
            );
            return self.show_message(StatusCode::FORBIDDEN, Some(session), message);
        }
        let parts: Vec<&str> = path.split('/').collect();
        let answer = match parts.as_slice() {
            ["sign-out"] => Ok(self.sign_out(session)),
            ["connect"] => self.begin_consent(session, &form),
            ["integrations", id, "check"] => self.check(session, id).await,
            ["integrations", id, "disconnect"] => self.disconnect(session, id, &form).await,
            ["service-account"] => self.add_key(session, form).await,
            ["agents", name, "invite"] => self.invite_owner(session, name),
            _ => Err(Refusal::NotFound),
        };
        answer.unwrap_or_else(|refusal| self.refuse(session, refusal))
    }

    fn refuse(&self, session: &Session, refusal: Refusal) -> Answer {
        match refusal {
            Refusal::NotFound => {
                let message = Message::new("There is no such page")
                    .says("The address is wrong, or what it showed is gone.");
                self.show_message(StatusCode::NOT_FOUND, Some(session), message)
            }
            Refusal::Message(message) => self.show_message(StatusCode::BAD_REQUEST, Some(session), *message),
        }
    }

    /// The address of the page that explains a state; none where all is well.
    fn explanation(&self, state: AgentState) -> Option<String> {
        let slug = help::of_state(state)?;
        Some(format!("{}{}", self.prefix, pages::path(slug)))
    }

    fn frame<'a>(&'a self, session: Option<&'a Session>, tab: Tab, title: &str) -> Frame<'a> {
        Frame::new(&self.prefix, session, tab, title)
    }

    /// The owner that a page is about: the viewer's own, or whom the operator names.
    fn owner_of(session: &Session, named: &str) -> Result<Option<OwnerId>, Refusal> {
        match session.admission.viewer.owner() {
            Some(own) if named.is_empty() || named == own.as_str() => Ok(Some(own.clone())),
            Some(_) => Err(Refusal::NotFound),
            None if named.is_empty() => Ok(None),
            None => named.parse::<OwnerId>().map(Some).map_err(|error| {
                Message::new("That is no owner's name")
                    .says(sentence(&error.to_string()))
                    .into()
            }),
        }
    }
}

fn asset(content_type: &'static str, text: &'static str) -> Answer {
    let mut answer = typed(StatusCode::OK, content_type, text);
    // Their addresses name the version.
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=86400"));
    answer
}
