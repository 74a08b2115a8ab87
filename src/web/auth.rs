//! Who asks: the session of the browser's cookie, or the person whom a trusted proxy names.

use std::sync::Arc;

use cookie::{Cookie, SameSite};
use http::{Method, header, request::Parts};
use hyper::header::HeaderValue;
use ipnet::IpNet;
use url::Url;

use crate::{
    budget::Refusals,
    config::ProxySection,
    id::OwnerId,
    net::tcp::PeerAddress,
    secret::{BrowserToken, SessionToken},
    session::{Admission, BrowserId, Session, Sessions, Viewer},
    telemetry::audit::Actor,
};

/// The cookie of a session.
const SESSION: &str = "token-broker";
/// The cookie of a browser that ended a consent, signed in or not.
const BROWSER: &str = "token-broker-browser";
/// How long that one lasts: until the ending cannot be shown any more, and some.
const KNOWN: cookie::time::Duration = cookie::time::Duration::hours(1);

/// What is shorter than our tokens was not made here: a browser that sends it would share it with others.
const LEAST_TOKEN: usize = 43;

/// What the page's own script sends with its requests: nobody looks.
const UNWATCHED: &str = "x-console-live";

/// Finds out who asks.
pub(super) struct Auth {
    sessions: Arc<Sessions>,
    proxy: Option<ProxySection>,
    /// The cookies travel over TLS alone.
    secure: bool,
    /// The path that the cookies are for: others on the same host do not see them.
    path: String,
    named_twice: Refusals,
    named_nobody: Refusals,
}

/// Who asks, and the cookie that makes them known from now on.
#[derive(Default)]
pub(super) struct Authenticated {
    pub(super) session: Option<Session>,
    pub(super) cookie: Option<HeaderValue>,
    /// The proxy named somebody who was not signed in anywhere.
    pub(super) arrived: bool,
}

impl Auth {
    pub(super) fn new(sessions: Arc<Sessions>, proxy: Option<ProxySection>, public_url: &Url) -> Self {
        let path = public_url.path().trim_end_matches('/');
        Self {
            sessions,
            proxy,
            secure: public_url.scheme() == "https",
            named_twice: Refusals::new(
                "the proxy passed on a header that names people; nobody is signed in by it",
            ),
            named_nobody: Refusals::new(
                "the proxy names somebody who cannot be an owner; nobody is signed in by it",
            ),
            // What no attribute of a cookie can hold (RFC 6265, section 4.1.1).
            path: if path.is_empty() || path.contains(';') {
                "/"
            } else {
                path
            }
            .to_owned(),
        }
    }

    pub(super) fn proxy_addresses(&self) -> &[IpNet] {
        self.proxy.as_ref().map_or(&[], |proxy| &proxy.addresses)
    }

    /// The session that the request's cookie stands for.
    pub(super) fn session(&self, request: &Parts) -> Option<Session> {
        let watched = !request.headers.contains_key(UNWATCHED);
        self.token(request)
            .and_then(|token| self.sessions.find(&token, watched))
    }

    /// Who asks. Whom a proxy names gets a session, in place of one that is somebody else's.
    pub(super) fn authenticate(&self, request: &Parts) -> Authenticated {
        let session = self.session(request);
        let Some(admission) = self.named(request) else {
            return Authenticated {
                session,
                ..Authenticated::default()
            };
        };
        let is_same = session
            .as_ref()
            .is_some_and(|session| *session.admission == admission);
        if is_same {
            return Authenticated {
                session,
                ..Authenticated::default()
            };
        }
        if request.method == Method::HEAD {
            return Authenticated {
                session: Some(self.sessions.passing(Arc::new(admission)).1),
                ..Authenticated::default()
            };
        }
        if let Some(session) = session {
            self.sessions.close(session.id);
        }
        // A program that keeps no cookie arrives once, not with each of its requests.
        let arrived = !self.sessions.is_admitted(&admission);
        let (token, session) = self.sessions.admit(Arc::new(admission));
        Authenticated {
            session: Some(session),
            cookie: self.cookie(&token),
            arrived,
        }
    }

    /// What a trusted proxy says of the person.
    fn named(&self, request: &Parts) -> Option<Admission> {
        let proxy = self.proxy.as_ref()?;
        let peer = request.extensions.get::<PeerAddress>()?.0.ip().to_canonical();
        if !proxy.addresses.iter().any(|network| network.contains(&peer)) {
            return None;
        }
        let mut named = request.headers.get_all(&proxy.header).iter();
        // An empty one is how some say that nobody is signed in.
        let name = named.next().filter(|name| !name.is_empty())?;
        let name: OwnerId = String::from_utf8_lossy(name.as_bytes())
            .parse()
            .inspect_err(|error| self.named_nobody.count(error))
            .ok()?;
        // A second one would be the person's own.
        if named.next().is_some() {
            self.named_twice.count(&proxy.header);
            return None;
        }
        Some(Admission {
            actor: Actor::Person(name.to_string()),
            viewer: if proxy.operators.contains(&name) {
                Viewer::Operator
            } else {
                Viewer::Owner(name)
            },
            return_url: None,
        })
    }

    /// The browser, and the cookie by which it is known for some time from now on.
    pub(super) fn browser(&self, request: &Parts) -> (BrowserId, Option<HeaderValue>) {
        let name = self.name(BROWSER);
        let token = sent(request, &name)
            .filter(|value| value.len() >= LEAST_TOKEN)
            .map_or_else(|| self.sessions.new_browser(), BrowserToken::from);
        let mut cookie = Cookie::new(name, token.expose().to_owned());
        cookie.set_max_age(KNOWN);
        (BrowserId::of(&token), self.with_attributes(cookie))
    }

    /// The prefix keeps what is not this host, or not over TLS, from setting it. `__Host-` is the stricter one, for cookies of
    /// the whole host alone (RFC 6265bis, section 4.1.3).
    fn name(&self, name: &str) -> String {
        match (self.secure, self.path.as_str()) {
            (true, "/") => format!("__Host-{name}"),
            (true, _) => format!("__Secure-{name}"),
            (false, _) => name.to_owned(),
        }
    }

    fn token(&self, request: &Parts) -> Option<SessionToken> {
        sent(request, &self.name(SESSION)).map(SessionToken::from)
    }

    /// The cookie of a session. It comes along when Google sends the browser back, hence `Lax`.
    pub(super) fn cookie(&self, token: &SessionToken) -> Option<HeaderValue> {
        self.with_attributes(Cookie::new(self.name(SESSION), token.expose().to_owned()))
    }

    /// Takes the cookie away.
    pub(super) fn no_cookie(&self) -> Option<HeaderValue> {
        let mut cookie = Cookie::new(self.name(SESSION), "");
        cookie.make_removal();
        self.with_attributes(cookie)
    }

    fn with_attributes(&self, mut cookie: Cookie<'_>) -> Option<HeaderValue> {
        cookie.set_path(self.path.clone());
        cookie.set_http_only(true);
        cookie.set_same_site(SameSite::Lax);
        cookie.set_secure(self.secure);
        let mut value = HeaderValue::try_from(cookie.to_string()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// The value of the first cookie of this name.
fn sent(request: &Parts, name: &str) -> Option<String> {
    let headers = request.headers.get_all(header::COOKIE).iter();
    headers
        .filter_map(|value| value.to_str().ok())
        .flat_map(Cookie::split_parse)
        .filter_map(Result::ok)
        .find(|cookie| cookie.name() == name)
        .map(|cookie| cookie.value().to_owned())
}
