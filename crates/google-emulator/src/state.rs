//! What the emulated Google remembers: accounts, consents, authorization codes, grants.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use jsonwebtoken::DecodingKey;

use crate::{
    grants::{self, Grants, Refusal},
    ids::{AccountId, ClientId},
    mint::{AccessClaims, RefreshClaims},
    options::{Account, AutoApprove, Options, Rotation},
    proofs::Thumbprint,
    scope::{self, ScopeSet, ScopeTable},
    time::after,
    workspace::Workspace,
};

/// How long an authorization code may wait for its exchange (RFC 6749, section 4.1.2).
const CODE_LIFETIME: Duration = Duration::from_secs(600);

/// The life of a refresh token while the consent screen is in Testing.
const TESTING_LIFETIME: Duration = Duration::from_secs(604_799);

/// What can be changed while the emulator runs.
pub(crate) struct Behaviour {
    pub(crate) lifetime: Duration,
    pub(crate) rotation: Rotation,
    pub(crate) testing_mode: bool,
    pub(crate) token_cap: usize,
    pub(crate) auto_approve: Option<AutoApprove>,
}

/// What a person allowed one client.
#[derive(Default)]
pub(crate) struct Consent {
    pub(crate) scopes: BTreeSet<String>,
    /// A web client gets its next refresh token only with `prompt=consent`.
    had_refresh_token: bool,
}

/// A service account's key and rights.
#[derive(Clone)]
pub(crate) struct ServiceKey {
    pub(crate) id: String,
    pub(crate) verifying: DecodingKey,
    /// Domain-wide delegation: the scopes with which it may act for a person.
    pub(crate) delegated: BTreeSet<String>,
}

/// A person's account or a service account.
pub(crate) struct AccountState {
    pub(crate) identity: Account,
    /// Access tokens of an earlier epoch are dead.
    epoch: u32,
    pub(crate) consents: BTreeMap<ClientId, Consent>,
    pub(crate) service: Option<Arc<ServiceKey>>,
    /// Mail, events and files; made when first looked at.
    pub(crate) workspace: Option<Box<Workspace>>,
}

/// An authorization code that waits for its exchange.
pub(crate) struct Code {
    pub(crate) client: ClientId,
    pub(crate) account: AccountId,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: Option<String>,
    pub(crate) nonce: Option<String>,
    pub(crate) scopes: Arc<ScopeSet>,
    pub(crate) with_refresh_token: bool,
    epoch: u32,
    expires: Timestamp,
}

/// What a person decided, on its way into a code.
pub(crate) struct Decision<'a> {
    pub(crate) client: ClientId,
    pub(crate) account: AccountId,
    pub(crate) ticked: BTreeSet<String>,
    /// The grant becomes the union over the project's clients.
    pub(crate) include_granted: bool,
    pub(crate) offline: Offline,
    pub(crate) redirect_uri: &'a str,
    pub(crate) challenge: Option<&'a str>,
    pub(crate) nonce: Option<&'a str>,
}

/// Whether a consent yields a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offline {
    Never,
    /// Only the first consent to this client.
    First,
    Always,
}

/// A refresh that was accepted.
pub(crate) struct Renewed {
    pub(crate) account: AccountId,
    pub(crate) scopes: Arc<ScopeSet>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) rotated: Option<RefreshClaims>,
}

/// Why a refresh was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RefreshError {
    Grant(Refusal),
    /// These scopes were not literally granted.
    Scope(Vec<String>),
}

/// What the emulated Google remembers.
pub(crate) struct State {
    pub(crate) behaviour: Behaviour,
    accounts: Vec<AccountState>,
    by_name: HashMap<String, AccountId>,
    codes: HashMap<String, Code>,
    grants: Grants,
    scopes: ScopeTable,
    clients: usize,
    serial: u64,
}

impl State {
    pub(crate) fn new(options: &Options) -> Self {
        let mut state = Self {
            behaviour: Behaviour {
                lifetime: options.token_lifetime,
                rotation: options.rotation,
                testing_mode: options.testing_mode,
                token_cap: options.token_cap,
                auto_approve: options.auto_approve.clone(),
            },
            accounts: Vec::new(),
            by_name: HashMap::new(),
            codes: HashMap::new(),
            grants: Grants::default(),
            scopes: ScopeTable::default(),
            clients: 1 + options.other_clients.len(),
            serial: 0,
        };
        for account in &options.accounts {
            state.add_account(account.clone(), None);
        }
        state
    }

    /// The account with this address, added if it is new.
    pub(crate) fn account_or_new(&mut self, email: &str) -> AccountId {
        match self.find(email) {
            Some(id) => id,
            None => self.add_account(Account::new(email), None),
        }
    }

    pub(crate) fn add_account(&mut self, identity: Account, service: Option<Arc<ServiceKey>>) -> AccountId {
        let id = AccountId(u32::try_from(self.accounts.len()).unwrap_or(u32::MAX));
        self.by_name.insert(identity.email.to_ascii_lowercase(), id);
        self.by_name.insert(identity.sub.clone(), id);
        let consents = BTreeMap::new();
        self.accounts.push(AccountState {
            identity,
            epoch: 0,
            consents,
            service,
            workspace: None,
        });
        id
    }

    /// The account with this address (in any case) or `sub`.
    pub(crate) fn find(&self, name: &str) -> Option<AccountId> {
        self.by_name
            .get(name)
            .or_else(|| self.by_name.get(&name.to_ascii_lowercase()))
            .copied()
    }

    /// The account has another address from now on; nobody goes by the one before.
    pub(crate) fn rename(&mut self, id: AccountId, email: &str) {
        let account = &mut self.accounts[id.0 as usize];
        let before = std::mem::replace(&mut account.identity.email, email.to_owned());
        self.by_name.remove(&before.to_ascii_lowercase());
        self.by_name.insert(email.to_ascii_lowercase(), id);
    }

    pub(crate) fn account(&self, id: AccountId) -> &AccountState {
        &self.accounts[id.0 as usize]
    }

    pub(crate) fn account_mut(&mut self, id: AccountId) -> &mut AccountState {
        &mut self.accounts[id.0 as usize]
    }

    /// All accounts with their places.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = (AccountId, &AccountState)> {
        (0..).map(AccountId).zip(&self.accounts)
    }

    /// How many refresh tokens of an account are on record, over all clients.
    pub(crate) fn live_grants(&self, account: AccountId) -> usize {
        (0..self.clients)
            .map(|client| self.grants.count(account, ClientId(client)))
            .sum()
    }

    /// Records what a person decided and files it under `code`. Returns what was granted.
    pub(crate) fn approve(&mut self, decision: Decision<'_>, code: &str, now: Timestamp) -> Arc<ScopeSet> {
        let account = &mut self.accounts[decision.account.0 as usize];
        let consent = account.consents.entry(decision.client).or_default();
        consent.scopes.extend(decision.ticked.iter().cloned());
        let with_refresh_token = match decision.offline {
            Offline::Never => false,
            Offline::First => !consent.had_refresh_token,
            Offline::Always => true,
        };
        consent.had_refresh_token |= with_refresh_token;
        let granted: BTreeSet<String> = if decision.include_granted {
            account
                .consents
                .values()
                .flat_map(|consent| consent.scopes.iter().cloned())
                .collect()
        } else {
            decision.ticked
        };
        let scopes = self.scopes.intern(granted);
        self.codes.retain(|_, waiting| waiting.expires > now);
        let waiting = Code {
            client: decision.client,
            account: decision.account,
            redirect_uri: decision.redirect_uri.to_owned(),
            challenge: decision.challenge.map(str::to_owned),
            nonce: decision.nonce.map(str::to_owned),
            scopes: scopes.clone(),
            with_refresh_token,
            epoch: account.epoch,
            expires: after(now, CODE_LIFETIME),
        };
        self.codes.insert(code.to_owned(), waiting);
        scopes
    }

    /// Whose consent a code stands for.
    pub(crate) fn account_of_code(&self, code: &str) -> Option<AccountId> {
        self.codes.get(code).map(|waiting| waiting.account)
    }

    /// Takes a code out of waiting, if it is alive and belongs to `client`. A code is taken once, even if
    /// the rest of the exchange then fails.
    pub(crate) fn take_code(&mut self, code: &str, client: ClientId, now: Timestamp) -> Option<Code> {
        if self.codes.get(code)?.client != client {
            return None;
        }
        let taken = self.codes.remove(code)?;
        let alive = taken.expires > now && taken.epoch == self.account(taken.account).epoch;
        alive.then_some(taken)
    }

    /// Records a refresh token, bound to the key that was proven. With Testing mode, it says when it will die.
    pub(crate) fn grant(
        &mut self,
        of: (AccountId, ClientId),
        scopes: &Arc<ScopeSet>,
        bound_to: Option<Thumbprint>,
        now: Timestamp,
    ) -> (RefreshClaims, Option<Timestamp>) {
        let dies = self.behaviour.testing_mode && !scopes.is_sign_in_only();
        let expires = dies.then(|| after(now, TESTING_LIFETIME));
        let cap = self.behaviour.token_cap;
        let claims = self.grants.add(of, scopes.clone(), bound_to, expires, cap, now);
        (claims, expires)
    }

    /// Records a refresh token as if a person had just consented.
    pub(crate) fn seed(
        &mut self,
        email: &str,
        client: ClientId,
        scopes: &[&str],
        now: Timestamp,
    ) -> RefreshClaims {
        let account = self.account_or_new(email);
        let scopes = self
            .scopes
            .intern(scopes.iter().map(|scope| scope::canonical(scope)));
        let consent = self.account_mut(account).consents.entry(client).or_default();
        consent.scopes.extend(scopes.iter().map(str::to_owned));
        consent.had_refresh_token = true;
        self.grant((account, client), &scopes, None, now).0
    }

    /// Uses a refresh token, with the key that the request proves. `wanted` narrows by literal scope; the grant is judged first.
    pub(crate) fn refresh(
        &mut self,
        token: RefreshClaims,
        (client, proven): (ClientId, Option<&Thumbprint>),
        wanted: Option<&[&str]>,
        now: Timestamp,
    ) -> Result<Renewed, RefreshError> {
        let rotation = self.behaviour.rotation;
        let grant = match self.grants.get(token, now) {
            Ok(grant) if grant.client != client => return Err(RefreshError::Grant(Refusal::OtherClient)),
            Ok(grant) if !grant.is_proven_by(proven) => return Err(RefreshError::Grant(Refusal::OtherKey)),
            Ok(grant) => grant,
            Err(refusal) => {
                // A dead grant is forgotten; a reused token ends a family that has no leeway.
                if refusal == Refusal::Dead || rotation == Rotation::Strict {
                    self.grants.remove(token.grant);
                }
                return Err(RefreshError::Grant(refusal));
            }
        };
        let (account, expires) = (grant.account, grant.expires);
        let mut scopes = grant.scopes.clone();
        if let Some(wanted) = wanted {
            let foreign: Vec<String> = wanted
                .iter()
                .filter(|scope| !scopes.contains(scope))
                .map(|s| (*s).to_owned())
                .collect();
            if !foreign.is_empty() {
                return Err(RefreshError::Scope(foreign));
            }
            scopes = self.scopes.intern(wanted.iter().copied());
        }
        let rotated = self.grants.renew(token, rotation, now);
        Ok(Renewed {
            account,
            scopes,
            expires,
            rotated,
        })
    }

    /// The account's newest refresh token.
    pub(crate) fn newest_grant(&self, account: AccountId) -> Option<RefreshClaims> {
        self.grants.newest(account)
    }

    /// Whose refresh token it is, while it lives.
    pub(crate) fn account_of_refresh(&self, token: RefreshClaims, now: Timestamp) -> Option<AccountId> {
        self.grants.get(token, now).ok().map(|grant| grant.account)
    }

    /// A new access token, and how long it lives.
    pub(crate) fn access(
        &mut self,
        account: AccountId,
        scopes: &ScopeSet,
        now: Timestamp,
    ) -> (AccessClaims, Duration) {
        self.serial += 1;
        let lifetime = self.behaviour.lifetime;
        let claims = AccessClaims {
            account: account.0,
            epoch: self.account(account).epoch,
            scopes: scopes.id,
            expires: after(now, lifetime).as_millisecond(),
            serial: self.serial,
        };
        (claims, lifetime)
    }

    /// Whose access token it is and what it allows, while it lives.
    pub(crate) fn check_access(
        &self,
        token: AccessClaims,
        now: Timestamp,
    ) -> Option<(AccountId, Arc<ScopeSet>)> {
        let account = self.accounts.get(token.account as usize)?;
        let alive = account.epoch == token.epoch && now.as_millisecond() < token.expires;
        let scopes = self.scopes.get(token.scopes)?.clone();
        alive.then_some((AccountId(token.account), scopes))
    }

    /// Interns scopes that no consent has to grant (service accounts).
    pub(crate) fn intern<'a>(&mut self, scopes: impl IntoIterator<Item = &'a str>) -> Arc<ScopeSet> {
        self.scopes.intern(scopes)
    }

    /// Ends everything an account granted, on every client: refresh tokens, access tokens, codes, consents.
    pub(crate) fn revoke(&mut self, account: AccountId) {
        self.grants.remove_of(account, self.clients, |_| true);
        let account = self.account_mut(account);
        account.epoch += 1;
        account.consents.clear();
    }

    /// A changed password ends the refresh tokens with Gmail scopes.
    pub(crate) fn change_password(&mut self, account: AccountId) {
        self.grants
            .remove_of(account, self.clients, grants::ends_with_password);
    }
}
