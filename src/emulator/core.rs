//! What all requests share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    fault::Faults,
    keys::RsaKey,
    mint::Minter,
    options::{Client, Options},
    risc::SecurityEvent,
    scope::ScopeSet,
    state::{AccountId, ClientId, State},
    stats::Counters,
};
use crate::{
    clock::SharedClock,
    entropy::SharedEntropy,
    secret::{AccessToken, AuthorizationCode},
};

/// The issuer that Google names, in id tokens and redirects.
pub(super) const ISSUER: &str = "https://accounts.google.com";

struct SigningKeys {
    current: Arc<RsaKey>,
    previous: Option<Arc<RsaKey>>,
}

/// What all requests share.
pub(super) struct Core {
    /// The origin of Google's endpoints, without a slash at the end.
    pub(super) base_url: String,
    pub(super) project_id: String,
    pub(super) app_name: String,
    pub(super) clients: Vec<Client>,
    pub(super) require_pkce: bool,
    pub(super) id_token_on_refresh: bool,
    pub(super) clock: SharedClock,
    pub(super) entropy: SharedEntropy,
    pub(super) minter: Minter,
    signing: Mutex<SigningKeys>,
    pub(super) faults: Faults,
    pub(super) stats: Counters,
    state: Mutex<State>,
    risc_receiver: Mutex<Option<String>>,
    /// Events that the emulator pushes by itself.
    pub(super) outbox: mpsc::UnboundedSender<SecurityEvent>,
}

impl Core {
    pub(super) fn new(
        options: &Options,
        base_url: String,
        signing: RsaKey,
        clock: SharedClock,
        entropy: SharedEntropy,
        outbox: mpsc::UnboundedSender<SecurityEvent>,
    ) -> Self {
        Self {
            base_url,
            project_id: options.project_id.clone(),
            app_name: options.app_name.clone(),
            clients: options.clients(),
            require_pkce: options.require_pkce,
            id_token_on_refresh: options.id_token_on_refresh,
            minter: Minter::new(&*entropy),
            clock,
            entropy,
            signing: Mutex::new(SigningKeys {
                current: Arc::new(signing),
                previous: None,
            }),
            faults: Faults::default(),
            stats: Counters::default(),
            state: Mutex::new(State::new(options)),
            risc_receiver: Mutex::new(options.risc_receiver.clone()),
            outbox,
        }
    }

    /// The state, for the shortest possible time.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that signs id tokens.
    pub(super) fn signing_key(&self) -> Arc<RsaKey> {
        self.signing_keys().current.clone()
    }

    /// The published keys, the signing one first.
    pub(super) fn published_keys(&self) -> Vec<Arc<RsaKey>> {
        let keys = self.signing_keys();
        std::iter::once(&keys.current)
            .chain(&keys.previous)
            .cloned()
            .collect()
    }

    /// Signs with another key from now on; the last one stays published, as Google does.
    pub(super) fn replace_signing_key(&self, key: RsaKey) {
        let mut keys = self.signing_keys();
        let retired = std::mem::replace(&mut keys.current, Arc::new(key));
        keys.previous = Some(retired);
    }

    fn signing_keys(&self) -> MutexGuard<'_, SigningKeys> {
        self.signing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where security events go.
    pub(super) fn risc_receiver(&self) -> MutexGuard<'_, Option<String>> {
        self.risc_receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The client with this id.
    pub(super) fn client(&self, id: &str) -> Option<(ClientId, &Client)> {
        let index = self.clients.iter().position(|client| client.id == id)?;
        Some((ClientId(index), &self.clients[index]))
    }

    /// A new authorization code.
    pub(super) fn new_code(&self) -> AuthorizationCode {
        AuthorizationCode::from(format!("4/emu-{}", self.entropy.token()))
    }

    /// A new access token, and the seconds that it lives.
    pub(super) fn issue_access(&self, account: AccountId, scopes: &ScopeSet) -> (AccessToken, u64) {
        let now = self.now();
        let (claims, lifetime) = self.state().access(account, scopes, now);
        (self.minter.access(claims), lifetime.as_secs())
    }

    /// The account that a token of any kind belongs to, while the token lives.
    pub(super) fn account_of_token(&self, token: &str) -> Option<AccountId> {
        let now = self.now();
        if let Some(claims) = self.minter.read_refresh(token) {
            return self.state().account_of_refresh(claims, now);
        }
        let claims = self.minter.read_access(token)?;
        self.state().check_access(claims, now).map(|(account, _)| account)
    }

    /// The address under which something of ours is published.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }
}
