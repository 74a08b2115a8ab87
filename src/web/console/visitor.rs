//! Who asks: the session of the browser's cookie, or the person whom a trusted proxy names.

use std::sync::Arc;

use cookie::{Cookie, SameSite};
use http::{header, request::Parts};
use hyper::header::HeaderValue;

use crate::{
    config::ProxySection,
    delivery::PeerAddress,
    id::OwnerId,
    secret::SessionToken,
    session::{Admission, Session, Sessions, Viewer},
    telemetry::audit::Actor,
};

/// What the page's own script sends with its requests: nobody looks.
const UNWATCHED: &str = "x-console-live";

/// Finds out who asks.
pub(super) struct Visitors {
    sessions: Arc<Sessions>,
    proxy: Option<ProxySection>,
    /// The cookie travels over TLS alone.
    secure: bool,
}

/// Who asks, and the cookie that makes them known from now on.
#[derive(Default)]
pub(super) struct Visitor {
    pub(super) session: Option<Session>,
    pub(super) cookie: Option<HeaderValue>,
    /// The proxy named somebody who was not signed in anywhere.
    pub(super) arrived: bool,
}

impl Visitors {
    pub(super) fn new(sessions: Arc<Sessions>, proxy: Option<ProxySection>, secure: bool) -> Self {
        Self {
            sessions,
            proxy,
            secure,
        }
    }

    pub(super) fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// The session that the request's cookie stands for.
    pub(super) fn session(&self, request: &Parts) -> Option<Session> {
        let watched = !request.headers.contains_key(UNWATCHED);
        self.token(request)
            .and_then(|token| self.sessions.find(&token, watched))
    }

    /// Who asks. Whom a proxy names gets a session, in place of one that is somebody else's.
    pub(super) fn visitor(&self, request: &Parts) -> Visitor {
        let session = self.session(request);
        let Some(admission) = self.named(request) else {
            return Visitor {
                session,
                ..Visitor::default()
            };
        };
        if let Some(session) = session {
            if *session.admission == admission {
                return Visitor {
                    session: Some(session),
                    ..Visitor::default()
                };
            }
            self.sessions.close(session.id);
        }
        // A program that keeps no cookie arrives once, not with each of its requests.
        let arrived = !self.sessions.is_admitted(&admission);
        let (token, session) = self.sessions.admit(Arc::new(admission));
        Visitor {
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
        let name: OwnerId = named.next()?.to_str().ok()?.parse().ok()?;
        // A second one would be the person's own.
        if named.next().is_some() {
            tracing::warn!(header = %proxy.header, "the proxy passed on a header that names people; nobody is signed in by it");
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

    /// The prefix `__Host-` keeps other hosts of the domain from setting it (RFC 6265bis, section 4.1.3.2).
    fn name(&self) -> &'static str {
        if self.secure {
            "__Host-token-broker"
        } else {
            "token-broker"
        }
    }

    fn token(&self, request: &Parts) -> Option<SessionToken> {
        let headers = request.headers.get_all(header::COOKIE).iter();
        headers
            .filter_map(|value| value.to_str().ok())
            .flat_map(Cookie::split_parse)
            .filter_map(Result::ok)
            .find(|cookie| cookie.name() == self.name())
            .map(|cookie| SessionToken::from(cookie.value()))
    }

    /// The cookie of a session. It comes along when Google sends the browser back, hence `Lax`.
    pub(super) fn cookie(&self, token: &SessionToken) -> Option<HeaderValue> {
        self.with_attributes(Cookie::new(self.name(), token.expose().to_owned()))
    }

    /// Takes the cookie away.
    pub(super) fn no_cookie(&self) -> Option<HeaderValue> {
        let mut cookie = Cookie::new(self.name(), "");
        cookie.make_removal();
        self.with_attributes(cookie)
    }

    fn with_attributes(&self, mut cookie: Cookie<'_>) -> Option<HeaderValue> {
        cookie.set_path("/");
        cookie.set_http_only(true);
        cookie.set_same_site(SameSite::Lax);
        cookie.set_secure(self.secure);
        let mut value = HeaderValue::try_from(cookie.to_string()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}
