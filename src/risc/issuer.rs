//! Who signs security events, and with which keys: the issuer's configuration document, read when it is first
//! needed and again once a day.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use tokio::sync::{Mutex, OwnedMutexGuard};
use url::Url;

use super::safe::is_safe;
use crate::{
    cause::UnusableAnswer,
    clock::{SharedClock, Uptime},
    http_client::{Egress, Http, Limits},
    provider::{
        ProviderError,
        failure::Call,
        oauth::{
            Dialect,
            jwks::{Keys, NamedBy, STRANGERS_PAUSE},
            refusal::is_told,
            refused,
        },
    },
    text::without_bom,
};

/// How long a document is taken as it was read.
const KEPT: Duration = Duration::from_secs(24 * 3600);
#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: Url,
}

/// What a document said.
pub(super) struct Known {
    name: String,
    keys_at: Url,
    keys: Arc<Keys>,
}

impl Known {
    /// The `iss` of what it signs.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

#[derive(Default)]
struct State {
    known: Option<Arc<Known>>,
    /// When the document is to be read again.
    due: Option<Uptime>,
    failure: Option<ProviderError>,
}

/// The issuer of security events.
pub(super) struct Issuer {
    document: Url,
    dialect: Arc<Dialect>,
    http: Arc<Http>,
    clock: SharedClock,
    // Held while the document is read: one request for everybody who waits.
    state: Arc<Mutex<State>>,
}

impl Issuer {
    pub(super) fn new(
        document: Url,
        dialect: Arc<Dialect>,
        (limits, egress): (Limits, Egress),
        clock: SharedClock,
    ) -> Arc<Self> {
        Arc::new(Self {
            http: Arc::new(Http::with_clock(limits, egress, clock.clone())),
            document,
            dialect,
            clock,
            state: Arc::default(),
        })
    }

    /// What the document says. One that was read before stays good while it cannot be read again.
    pub(super) async fn known(self: &Arc<Self>) -> Result<Arc<Known>, ProviderError> {
        let state = Arc::clone(&self.state).lock_owned().await;
        let now = self.clock.uptime();
        if state.due.is_some_and(|due| now < due) {
            return self.said(&state, now);
        }
        // By itself: whoever asked and goes away does not make the next one ask again.
        let issuer = Arc::clone(self);
        let read = tokio::spawn(async move { issuer.read_again(state, now).await });
        read.await.unwrap_or_else(|_| Err(self.malformed()))
    }

    async fn read_again(
        &self,
        mut state: OwnedMutexGuard<State>,
        now: Uptime,
    ) -> Result<Arc<Known>, ProviderError> {
        match self.read().await {
            Ok(document) => {
                state.due = Some(now.after(KEPT));
                state.failure = None;
                let same =
                    |known: &Arc<Known>| known.name == document.issuer && known.keys_at == document.jwks_uri;
                if !state.known.as_ref().is_some_and(same) {
                    let at = document.jwks_uri.clone();
                    state.known = Some(Arc::new(Known {
                        keys: Keys::new(
                            at,
                            NamedBy::Anybody,
                            Arc::clone(&self.dialect),
                            Arc::clone(&self.clock),
                        ),
                        name: document.issuer,
                        keys_at: document.jwks_uri,
                    }));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the issuer's document about security events cannot be read");
                // Anybody can push something that asks for it.
                state.due = Some(now.after(STRANGERS_PAUSE));
                state.failure = Some(error);
            }
        }
        self.said(&state, now)
    }

    fn said(&self, state: &State, now: Uptime) -> Result<Arc<Known>, ProviderError> {
        match (&state.known, &state.failure) {
            (Some(known), _) => Ok(Arc::clone(known)),
            (None, Some(error)) => Err(ProviderError {
                retry_after: state.due.and_then(|due| now.until(due)),
                ..error.clone()
            }),
            (None, None) => Err(self.malformed()),
        }
    }

    /// One of its keys; `None` where it publishes none of this id.
    pub(super) async fn key(
        &self,
        known: &Known,
        id: &str,
    ) -> Result<Option<Arc<[DecodingKey]>>, ProviderError> {
        known.keys.look_up(&self.http, id).await
    }

    async fn read(&self) -> Result<Document, ProviderError> {
        let reply = self
            .http
            .get(&self.document)
            .await
            .map_err(|error| ProviderError::transport(self.host(), error))?;
        if !reply.status.is_success() || is_told(&reply.body) {
            return Err(refused(&self.dialect, Call::Keys, &reply, &[], self.clock.now()));
        }
        serde_json::from_slice(without_bom(&reply.body))
            .ok()
            .filter(|document: &Document| {
                is_safe(&document.jwks_uri, &self.document) && !document.issuer.is_empty()
            })
            .ok_or_else(|| self.malformed())
    }

    fn malformed(&self) -> ProviderError {
        let host = self.host().to_owned();
        ProviderError::unusable(UnusableAnswer::NoEventIssuer { host })
    }

    fn host(&self) -> &str {
        self.document.host_str().unwrap_or_default()
    }
}
