//! The published keys that tokens are signed with (RFC 7517), kept as long as the provider allows.

mod published;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use jsonwebtoken::DecodingKey;
use tokio::sync::{Mutex, OwnedMutexGuard};
use url::Url;

use super::{dialect::Dialect, refusal::is_told, refused::refused};
use crate::{
    cause::{Call, IdTokenFault, UnusableAnswer},
    clock::{SharedClock, Uptime},
    http_client::Http,
    provider::error::ProviderError,
};

use published::{MIN_BITS, Published, age, parse};

/// Where strangers name the keys, reading them is not begun more often than this, however it ends.
pub(crate) const STRANGERS_PAUSE: Duration = Duration::from_secs(60);

/// Who names the keys that are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamedBy {
    /// The provider, in answers of its own: a name that is unknown is looked for at once.
    Provider,
    /// Whoever likes: a name that is unknown waits for its turn.
    Anybody,
}

/// The keys of one answer.
struct KeySet {
    keys: Published,
    stale_at: Uptime,
}

/// How keys were read last.
struct Reading {
    /// Which reading it was, from 1 on.
    number: u64,
    began: Option<Uptime>,
    outcome: Result<(), ProviderError>,
}

/// The provider's keys.
pub(crate) struct Keys {
    url: Url,
    named_by: NamedBy,
    dialect: Arc<Dialect>,
    clock: SharedClock,
    current: ArcSwapOption<KeySet>,
    begun: AtomicU64,
    ended: AtomicU64,
    // Held while the keys are read: one request for everybody who waits.
    last: Arc<Mutex<Reading>>,
}

impl Keys {
    pub(crate) fn new(url: Url, named_by: NamedBy, dialect: Arc<Dialect>, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self {
            url,
            named_by,
            dialect,
            clock,
            current: ArcSwapOption::empty(),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            last: Arc::new(Mutex::new(Reading {
                number: 0,
                began: None,
                outcome: Ok(()),
            })),
        })
    }

    /// The keys that an id token names.
    pub(crate) async fn find(
        self: &Arc<Self>,
        http: &Arc<Http>,
        id: &str,
    ) -> Result<Arc<[DecodingKey]>, ProviderError> {
        let found = self.look_up(http, id).await?;
        found.ok_or_else(|| {
            self.bits_of_short(id).map_or_else(
                || unknown_key(&self.dialect),
                |bits| short_key(bits, &self.dialect),
            )
        })
    }

    fn bits_of_short(&self, id: &str) -> Option<usize> {
        self.current.load().as_ref()?.keys.short.get(id).copied()
    }

    /// The keys with this id; `None` where none is published, and that was read after this was asked. An error where it
    /// could not be read, or may not be yet: `retry_after` says when it may.
    pub(crate) async fn look_up(
        self: &Arc<Self>,
        http: &Arc<Http>,
        id: &str,
    ) -> Result<Option<Arc<[DecodingKey]>>, ProviderError> {
        if let Some(key) = self.known(id) {
            return Ok(Some(key));
        }
        let (begun, ended) = (
            self.begun.load(Ordering::Acquire),
            self.ended.load(Ordering::Acquire),
        );
        let last = Arc::clone(&self.last).lock_owned().await;
        if let Some(key) = self.known(id) {
            return Ok(Some(key));
        }
        if self.ended.load(Ordering::Acquire) != ended {
            // Somebody tried while we waited: share what they got.
            last.outcome.clone()?;
        }
        if last.number > begun {
            return Ok(None);
        }
        self.may_read(&last)?;
        // By itself: whoever asked and goes away takes nobody else's turn with them.
        let (keys, http) = (Arc::clone(self), Arc::clone(http));
        tokio::spawn(async move { keys.read(&http, last).await })
            .await
            .unwrap_or_else(|_| Err(ProviderError::unusable(UnusableAnswer::KeysCutOff)))?;
        Ok(self.known(id))
    }

    fn known(&self, id: &str) -> Option<Arc<[DecodingKey]>> {
        let set = self.current.load();
        let now = self.clock.uptime();
        let set = set.as_ref().filter(|set| now < set.stale_at)?;
        set.keys.keys.get(id).cloned()
    }

    /// Says when the keys may be read again, if it is too soon.
    fn may_read(&self, last: &Reading) -> Result<(), ProviderError> {
        let pause = |began: Uptime| self.clock.uptime().until(began.after(STRANGERS_PAUSE));
        match last.began.and_then(pause) {
            Some(pause) if self.named_by == NamedBy::Anybody => Err(ProviderError {
                retry_after: Some(pause),
                ..last.outcome.clone().err().unwrap_or_else(too_soon)
            }),
            _ => Ok(()),
        }
    }

    async fn read(&self, http: &Http, mut last: OwnedMutexGuard<Reading>) -> Result<(), ProviderError> {
        last.number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        last.began = Some(self.clock.uptime());
        let read = self.ask(http).await;
        last.outcome = read.map(|set| self.current.store(Some(Arc::new(set))));
        self.ended.fetch_add(1, Ordering::Release);
        last.outcome.clone()
    }

    async fn ask(&self, http: &Http) -> Result<KeySet, ProviderError> {
        let host = self.url.host_str().unwrap_or_default();
        let asked_at = self.clock.uptime();
        let reply = http
            .get(&self.url)
            .await
            .map_err(|error| ProviderError::transport(host, error))?;
        if !reply.status.is_success() || is_told(&reply.body) {
            return Err(refused(&self.dialect, Call::Keys, &reply, &[], self.clock.now()));
        }
        let keys = parse(&reply).ok_or_else(|| {
            let host = host.to_owned();
            ProviderError::unusable(UnusableAnswer::NoKeys { host })
        })?;
        Ok(KeySet {
            keys,
            stale_at: asked_at.after(age(&reply.headers)),
        })
    }
}

fn too_soon() -> ProviderError {
    ProviderError::unusable(UnusableAnswer::KeyTooSoon)
}

fn unknown_key(dialect: &Dialect) -> ProviderError {
    ProviderError::id_token(IdTokenFault::UnknownKey {
        provider: dialect.name.clone(),
        setting: dialect.endpoint_setting.clone(),
    })
}

fn short_key(bits: usize, dialect: &Dialect) -> ProviderError {
    ProviderError::id_token(IdTokenFault::ShortKey {
        bits,
        needed: MIN_BITS,
        setting: dialect.endpoint_setting.clone(),
    })
}

#[cfg(test)]
mod tests;
