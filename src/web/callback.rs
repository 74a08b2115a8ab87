//! `/oauth/callback`: where a consent comes back to, with a page for each way it can end.

use std::{convert::Infallible, sync::Arc};

use axum::{Router, body::Body, extract::State, routing::get};
use bytes::Bytes;
use futures_util::stream;
use http::request::Parts;
use hyper::{StatusCode, header::SET_COOKIE};

use super::{
    answer::{Answer, html, redirect},
    auth::Auth,
    page::{Item, Page, Tone},
    paths::Paths,
};
use crate::{
    broker::{Broker, ConnectError, Connected},
    help::{self, topic::Topic},
    id::{CapabilityKey, IntegrationId},
    provider::Remedy,
    session::Visit,
    text::sentence::sentence,
};

/// Where a consent comes back to.
pub(super) const PATH: &str = "/oauth/callback";

/// Ends consents.
pub(super) struct Callback {
    pub(super) broker: Arc<Broker>,
    pub(super) auth: Arc<Auth>,
    pub(super) paths: Arc<Paths>,
}

impl Callback {
    pub(super) fn routes(self) -> Router {
        Router::new()
            .route(PATH, get(end).head(look))
            .with_state(Arc::new(self))
    }
}

async fn end(State(callback): State<Arc<Callback>>, request: Parts) -> Answer {
    let session = callback.auth.session(&request);
    let (browser, cookie) = callback.auth.browser(&request);
    let query = request.uri.query().unwrap_or_default();
    let visit = Visit {
        session: session.as_ref(),
        browser,
    };
    let (ending, ended) = ending(&callback.broker, &visit, query).await;
    let mut answer = match ending {
        Ending::Page(status, page) => page.answer(status, callback.paths.prefix()),
        Ending::Redirect(url) => redirect(&url),
        Ending::Console(account) => redirect(&callback.paths.connected(&account)),
    };
    if let Some(cookie) = cookie.filter(|_| ended) {
        answer.headers_mut().insert(SET_COOKIE, cookie);
    }
    answer
}

/// Only a browser that shows it to a person ends a consent: neither HEAD, which link checkers send, nor one that
/// fetches ahead. How long the page would be is not known then, so no length is told.
async fn look() -> Answer {
    let nothing = stream::empty::<Result<Bytes, Infallible>>();
    html(StatusCode::OK, Ok(String::new())).map(|_| Body::from_stream(nothing))
}

/// What the browser gets.
enum Ending {
    /// A page.
    Page(StatusCode, Page),
    /// The platform's own page.
    Redirect(String),
    /// The console, where the consent was begun.
    Console(IntegrationId),
}

/// Finishes the consent that `query` belongs to; whether there was one. The browser that finished it is shown the same
/// ending again.
async fn ending(broker: &Arc<Broker>, visit: &Visit<'_>, query: &str) -> (Ending, bool) {
    match broker.connect.complete_connect_in(visit, query).await {
        Ok(connected) => (success(broker, &connected), true),
        Err(error) => {
            let ended = !matches!(
                error,
                ConnectError::BadRedirect(_)
                    | ConnectError::UnknownState
                    | ConnectError::OtherBrowser
                    | ConnectError::OtherSession
            );
            let (status, page) = failure(&error);
            let page = match visit.session {
                Some(_) => page.goes_on("integrations", "Back to the console"),
                None => page,
            };
            (Ending::Page(status, page), ended)
        }
    }
}

fn success(broker: &Broker, connected: &Connected) -> Ending {
    if connected.in_console {
        return Ending::Console(connected.account.clone());
    }
    match return_url(connected) {
        Some(url) => Ending::Redirect(url),
        None => Ending::Page(StatusCode::OK, page(broker, connected)),
    }
}

fn return_url(connected: &Connected) -> Option<String> {
    let mut url = url::Url::parse(connected.return_url.as_ref()?).ok()?;
    url.query_pairs_mut()
        .append_pair("connected", connected.account.as_str());
    Some(url.into())
}

fn page(broker: &Broker, connected: &Connected) -> Page {
    let Some(account) = broker.connect.connected_account(connected) else {
        return Page::new(Tone::Calm, "Disconnected again").says("The account was disconnected meanwhile.");
    };
    let item = |key: &CapabilityKey, done: bool| {
        let capability = broker.catalog().get(key);
        Item {
            title: capability.map_or_else(|| key.to_string(), |capability| capability.title.clone()),
            note: if done {
                key.to_string()
            } else {
                format!("{key} — not granted")
            },
            done,
        }
    };
    let known = broker.providers().get(&account.record.provider);
    let at = known.map_or("The account", |known| &known.profile.name);
    let granted = account.capabilities.iter().map(|key| item(key, true));
    let missing = connected.missing.iter().map(|key| item(key, false));
    let items = granted.chain(missing).collect();
    let page = Page::new(Tone::Good, format!("{at} is connected"))
        .says(format!(
            "{} is connected for {}. Agents may now:",
            account.record.account, connected.owner
        ))
        .lists(items);
    let page = if connected.withdrawn.is_empty() {
        page
    } else {
        page.says(format!(
            "{at}'s answer does not hold any more: {}.",
            keys(&connected.withdrawn)
        ))
    };
    if connected.missing.is_empty() {
        return page.closes("You can close this window. Nothing more is needed.");
    }
    let keys: Vec<String> = connected
        .missing
        .iter()
        .map(|key| format!("--capability {key}"))
        .collect();
    page.command(format!(
        "token-broker integrations add-permissions {} {}",
        connected.account,
        keys.join(" ")
    ))
    .closes("What was not ticked can be added at any time; what was granted stays.")
}

fn keys(keys: &[CapabilityKey]) -> String {
    keys.iter()
        .map(CapabilityKey::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

/// What the person sees who tried: what happened, what to do next, and where there is more about it.
fn failure(error: &ConnectError) -> (StatusCode, Page) {
    let slug = help::of_connect(error);
    let topic = help::find(slug);
    let title = topic.map_or_else(|| "That did not work".to_owned(), Topic::heading);
    let (tone, said) = match (error, topic) {
        // Whoever declined need not read of an operator's settings.
        (ConnectError::Denied(..), Some(topic)) => (Tone::Calm, unchanged(topic.summary())),
        (ConnectError::OtherBrowser, _) => (Tone::Calm, sentence(&error.to_string())),
        _ => (Tone::Bad, unchanged(sentence(&error.to_string()))),
    };
    let page = Page::new(tone, title)
        .says(said)
        .closes(topic.map(Topic::next_step).unwrap_or_default())
        .explained_by(Some(slug));
    (status(error), page)
}

/// A consent that did not end well leaves everything as it was, and people should read that.
fn unchanged(said: String) -> String {
    const UNCHANGED: &str = "Nothing was changed.";
    if said.contains(UNCHANGED) {
        said
    } else {
        format!("{said} {UNCHANGED}")
    }
}

fn status(error: &ConnectError) -> StatusCode {
    match error {
        ConnectError::Denied(..) | ConnectError::NothingGranted(_) => StatusCode::OK,
        ConnectError::OtherAccount { .. }
        | ConnectError::NotThatAccount { .. }
        | ConnectError::ConnectedAlready { .. }
        | ConnectError::Narrower { .. }
        | ConnectError::NoRefreshToken(_)
        | ConnectError::RevokedMeanwhile { .. }
        | ConnectError::OtherBrowser => StatusCode::CONFLICT,
        ConnectError::OtherSession => StatusCode::FORBIDDEN,
        ConnectError::Provider(inner, _) => match inner.kind {
            Remedy::Retry => StatusCode::BAD_GATEWAY,
            Remedy::Operator => StatusCode::INTERNAL_SERVER_ERROR,
            Remedy::Reconnect | Remedy::Permission => StatusCode::BAD_REQUEST,
        },
        ConnectError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        broker::NotKept,
        cause::{Call, IdTokenFault, Refusal, TokenAnswerFault, UnusableAnswer},
        http_client::{Egress, Limits, TransportError},
        provider::{
            ConsentProvider, Origin, Profile, ProviderError,
            failure::Said,
            google,
            oidc::{self, failure_table::FAILURES},
        },
    };

    /// What Google's own page leads back with where an administrator has not allowed the app.
    fn blocked() -> ProviderError {
        let options = google::ClientOptions {
            client_id: "client".to_owned(),
            client_secret: None,
            client_type: crate::config::ClientType::Web,
            dpop: false,
            redirect_uri: "http://127.0.0.1:1/oauth/callback".parse().unwrap(),
            endpoints: google::Endpoints::google(),
            limits: Limits::default(),
            egress: Egress::default(),
        };
        let clock = std::sync::Arc::new(crate::clock::SystemClock);
        let entropy = std::sync::Arc::new(crate::entropy::SystemEntropy);
        google::Client::new(options, clock, entropy).refused_consent("admin_policy_enforced", None)
    }

    #[test]
    fn a_consent_that_fails_says_what_to_do_and_links_to_its_page() {
        let shown = |error: ConnectError| {
            let (status, page) = failure(&error);
            (status, page.html("/broker").unwrap())
        };
        let (status, html) = shown(ConnectError::UnknownState);
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(html.contains("This link is no longer good"), "{html}");
        assert_eq!(html.matches("Nothing was changed.").count(), 1, "{html}");
        assert!(html.contains("href=\"/broker/help/link-used\""), "{html}");
        let (status, html) = shown(ConnectError::Store(NotKept::ChangedMeanwhile));
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(
            html.contains("Show this page to whoever runs this machine."),
            "{html}"
        );
        let blocked = blocked();
        let (_, html) = shown(ConnectError::Provider(blocked, Arc::new(google::account())));
        assert!(
            html.contains("href=\"/broker/help/blocked-by-organisation\""),
            "{html}"
        );
    }

    /// Every way in which a consent at this provider ends badly because of the provider, or on the way to it.
    fn endings(at: &Arc<Profile>) -> Vec<ConnectError> {
        let host = || "acme.example".to_owned();
        let redirected = Refusal {
            call: Call::Exchange,
            status: 302,
            error: None,
            subtype: None,
            reasons: Vec::new(),
            description: None,
        };
        let row = FAILURES.classify(redirected.call, redirected.status, Said::of(&redirected));
        let unusable = |fault| ProviderError::unusable(UnusableAnswer::Token { host: host(), fault });
        let errors = [
            ProviderError::refused(row, &at.name, redirected),
            ProviderError::id_token(IdTokenFault::Signature),
            ProviderError::id_token(IdTokenFault::OtherServer {
                found: Some("https://elsewhere.example".to_owned()),
                expected: vec!["https://acme.example".to_owned()],
            }),
            unusable(TokenAnswerFault::NoObject),
            unusable(TokenAnswerFault::TokenType("DPoP".to_owned())),
            unusable(TokenAnswerFault::Life("soon".to_owned())),
            ProviderError::transport(&host(), TransportError::NoConnection),
            ProviderError::transport(&host(), TransportError::TooLarge(1)),
            ProviderError::transport(&host(), TransportError::Certificate("it is old".to_owned())),
            ProviderError::transport(
                &host(),
                TransportError::ProxyCredentials("it wants a name".to_owned()),
            ),
        ];
        let errors = errors
            .into_iter()
            .map(|error| ConnectError::Provider(error, at.clone()));
        let (alice, bob) = ("alice@acme.example".to_owned(), "bob@acme.example".to_owned());
        let owner = || "alice".parse().unwrap();
        let others = [
            ConnectError::Denied(owner(), at.clone()),
            ConnectError::NothingGranted(at.clone()),
            ConnectError::NoRefreshToken(at.clone()),
            ConnectError::OtherAccount {
                at: at.name.clone(),
                owner: owner(),
                expected: alice.clone(),
                got: bob,
            },
            ConnectError::ConnectedAlready {
                at: at.name.clone(),
                owner: owner(),
                account: alice.clone(),
            },
            ConnectError::RevokedMeanwhile {
                at: at.name.clone(),
                account: alice,
            },
        ];
        errors.chain(others).collect()
    }

    #[test]
    fn a_consent_that_fails_at_another_provider_has_a_page_without_google() {
        let acme = Arc::new(Profile {
            id: "acme".parse().unwrap(),
            name: "Acme".to_owned(),
            declined: "The consent was declined at Acme.".to_owned(),
            topics: &oidc::failure_table::TOPICS,
            origin: Origin::Consent { connections: None },
            ..google::account()
        });
        for error in endings(&acme) {
            let (_, page) = failure(&error);
            let html = page.html("").unwrap();
            assert!(!html.contains("Google"), "{error}: {html}");
            // No consent is.
            assert!(
                !html.to_lowercase().contains("it is tried again"),
                "{error}: {html}"
            );
        }
    }
}
