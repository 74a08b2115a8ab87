//! What all requests share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::{
    event::SecurityEvent,
    fault::Faults,
    ids::{AccountId, ClientId},
    keys::RsaKey,
    mint::Minter,
    options::{Client, Options},
    proofs::Proofs,
    scope::ScopeSet,
    state::State,
    stats::Counters,
    time::Clock,
};
/// The issuer that Google names, in id tokens and redirects.
pub(crate) const ISSUER: &str = "https://accounts.google.com";

/// An account or client that the emulator does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the emulator has no {kind} `{name}`")]
pub struct Unknown {
    kind: &'static str,
    name: String,
}

impl Unknown {
    pub(crate) fn new(kind: &'static str, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
        }
    }
}

struct SigningKeys {
    current: Arc<RsaKey>,
    previous: Option<Arc<RsaKey>>,
}

/// What all requests share.
pub(crate) struct Core {
    /// The origin of Google's endpoints, without a slash at the end.
    pub(crate) base_url: String,
    pub(crate) project_id: String,
    pub(crate) app_name: String,
    pub(crate) clients: Vec<Client>,
    pub(crate) require_pkce: bool,
    pub(crate) id_token_on_refresh: bool,
    clock: Clock,
    pub(crate) minter: Minter,
    signing: Mutex<SigningKeys>,
    pub(crate) faults: Faults,
    pub(crate) proofs: Proofs,
    pub(crate) stats: Counters,
    state: Mutex<State>,
    risc_receiver: Mutex<Option<String>>,
    /// Events that the emulator pushes by itself.
    pub(crate) outbox: mpsc::UnboundedSender<SecurityEvent>,
}

impl Core {
    pub(crate) fn new(
        options: &Options,
        base_url: String,
        signing: RsaKey,
        outbox: mpsc::UnboundedSender<SecurityEvent>,
    ) -> Self {
        Self {
            base_url,
            project_id: options.project_id.clone(),
            app_name: options.app_name.clone(),
            clients: options.clients(),
            require_pkce: options.require_pkce,
            id_token_on_refresh: options.id_token_on_refresh,
            minter: Minter::new(),
            clock: options.clock.clone(),
            signing: Mutex::new(SigningKeys {
                current: Arc::new(signing),
                previous: None,
            }),
            faults: Faults::default(),
            proofs: Proofs::default(),
            stats: Counters::default(),
            state: Mutex::new(State::new(options)),
            risc_receiver: Mutex::new(options.risc_receiver.clone()),
            outbox,
        }
    }

    /// The state, for the shortest possible time.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that signs id tokens.
    pub(crate) fn signing_key(&self) -> Arc<RsaKey> {
        self.signing_keys().current.clone()
    }

    /// The published keys, the signing one first.
    pub(crate) fn published_keys(&self) -> Vec<Arc<RsaKey>> {
        let keys = self.signing_keys();
        std::iter::once(&keys.current)
            .chain(&keys.previous)
            .cloned()
            .collect()
    }

    /// Signs with another key from now on; the last one stays published, as Google does.
    pub(crate) fn replace_signing_key(&self, key: RsaKey) {
        let mut keys = self.signing_keys();
        let retired = std::mem::replace(&mut keys.current, Arc::new(key));
        keys.previous = Some(retired);
    }

    fn signing_keys(&self) -> MutexGuard<'_, SigningKeys> {
        self.signing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where security events go.
    pub(crate) fn risc_receiver(&self) -> MutexGuard<'_, Option<String>> {
        self.risc_receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The client with this id.
    pub(crate) fn client(&self, id: &str) -> Option<(ClientId, &Client)> {
        let index = self.clients.iter().position(|client| client.id == id)?;
        Some((ClientId(index), &self.clients[index]))
    }

    /// A new access token, and the seconds that it lives.
    pub(crate) fn issue_access(&self, account: AccountId, scopes: &ScopeSet) -> (String, u64) {
        let now = self.now();
        let (claims, lifetime) = self.state().access(account, scopes, now);
        (self.minter.access(claims), lifetime.as_secs())
    }

    /// The account with this address (in any case) or `sub`.
    pub(crate) fn find(&self, account: &str) -> Result<AccountId, Unknown> {
        let found = self.state().find(account);
        found.ok_or_else(|| Unknown::new("account", account))
    }

    /// The account that a token of any kind belongs to, while the token lives.
    pub(crate) fn account_of_token(&self, token: &str) -> Option<AccountId> {
        let now = self.now();
        if let Some(claims) = self.minter.read_refresh(token) {
            return self.state().account_of_refresh(claims, now);
        }
        let claims = self.minter.read_access(token)?;
        self.state().check_access(claims, now).map(|(account, _)| account)
    }

    /// The address under which something of ours is published.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }
}
