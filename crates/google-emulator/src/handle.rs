//! What a test or the control address does to a running emulator.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::Value;

use crate::{
    core::{Core, Unknown},
    event::{Pushed, SecurityEvent},
    fault::{Fault, FaultId, InvalidFault, OrderedFault},
    ids::{AccountId, ClientId},
    keys::{KeyError, RsaKey},
    options::{Account, AutoApprove, Rotation},
    proofs::InvalidNonce,
    risc::{self, InvalidReceiver, NotAnnounced},
    service_account,
    state::AccountState,
    stats::Stats,
};

/// A hold on a running emulator, for tests in the same process. Clones share it.
#[derive(Clone)]
pub struct Handle {
    core: Arc<Core>,
    control_url: Arc<str>,
}

/// A message that Gmail accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SentMail {
    /// The account that sent it.
    pub account: String,
    /// The addresses in `To`, `Cc` and `Bcc`.
    pub recipients: Vec<String>,
    /// Its subject.
    pub subject: String,
    /// How its text begins.
    pub snippet: String,
}

/// What an account has granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountView {
    /// The account's address.
    pub email: String,
    /// Its stable identifier.
    pub sub: String,
    /// How many refresh tokens of it are on record, over all clients.
    pub refresh_tokens: usize,
    /// What the person allowed each client.
    pub consents: Vec<ConsentView>,
}

/// What a person allowed one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConsentView {
    /// The client.
    pub client_id: String,
    /// The scopes, sorted.
    pub scopes: Vec<String>,
}

impl Handle {
    pub(crate) fn new(core: Arc<Core>, control_url: Arc<str>) -> Self {
        Self { core, control_url }
    }

    /// The origin of Google's endpoints, without a slash at the end.
    pub fn base_url(&self) -> &str {
        &self.core.base_url
    }

    /// The origin of the control address, without a slash at the end.
    pub fn control_url(&self) -> &str {
        &self.control_url
    }

    /// What was asked so far.
    pub fn stats(&self) -> Stats {
        self.core.stats.snapshot()
    }

    /// Waits until the counters satisfy `enough`.
    pub async fn wait_until(&self, enough: impl Fn(&Stats) -> bool) -> Stats {
        self.core.stats.wait_until(enough).await
    }

    /// Orders a fault.
    ///
    /// # Errors
    /// The fault names a status or a header that HTTP does not have.
    pub fn inject_fault(&self, fault: Fault) -> Result<FaultId, InvalidFault> {
        self.core.faults.order(fault)
    }

    /// Takes one fault back and releases the requests that it holds; false where there is no such fault.
    pub fn clear_fault(&self, id: FaultId) -> bool {
        self.core.faults.clear(|known| known == id) > 0
    }

    /// Takes all faults back.
    pub fn clear_faults(&self) {
        self.core.faults.clear(|_| true);
    }

    /// The faults in force, and how often each has struck.
    pub fn faults(&self) -> Vec<OrderedFault> {
        self.core.faults.list()
    }

    /// The person removes the app: everything that the account (address or `sub`) granted ends, and a receiver of
    /// security events is told.
    ///
    /// # Errors
    /// There is no such account.
    pub fn revoke_account(&self, account: &str) -> Result<(), Unknown> {
        let id = self.core.find(account)?;
        self.core.state().revoke(id);
        if self.core.risc_receiver().is_some() {
            // Nobody serves any more: nobody is told.
            let _ = self.core.outbox.send(risc::removal(account));
        }
        Ok(())
    }

    /// Where security events go from now on; `None` keeps them here.
    ///
    /// # Errors
    /// The address is not plain HTTP, which is all that the emulator speaks.
    pub fn set_risc_receiver(&self, url: Option<&str>) -> Result<(), InvalidReceiver> {
        risc::check_receiver(url)?;
        *self.core.risc_receiver() = url.map(str::to_owned);
        Ok(())
    }

    /// Signs a security event and pushes it to the receiver, where there is one. It only tells: whether anything of
    /// it is so is another matter.
    ///
    /// # Errors
    /// There is no such account, or no key could be made.
    pub async fn announce(&self, event: &SecurityEvent) -> Result<Pushed, NotAnnounced> {
        let account = event
            .account
            .as_deref()
            .map(|name| self.core.find(name))
            .transpose()?;
        let set = risc::sign(&self.core, event, account)?;
        let receiver = self.core.risc_receiver().clone().filter(|_| !event.hold_back);
        let Some(receiver) = receiver else {
            return Ok(Pushed {
                set,
                status: None,
                body: String::new(),
            });
        };
        let answered = risc::push(&receiver, &set).await;
        let taken = answered.as_ref().is_some_and(|(status, _)| *status == 202);
        self.core.stats.count(|stats| {
            if taken {
                &stats.events_taken
            } else {
                &stats.events_refused
            }
        });
        let (status, body) = answered.unzip();
        Ok(Pushed {
            set,
            status,
            body: body.unwrap_or_default(),
        })
    }

    /// The account (address or `sub`) gets another address; it stays the same account.
    ///
    /// # Errors
    /// There is no such account.
    pub fn rename_account(&self, account: &str, email: &str) -> Result<(), Unknown> {
        let id = self.core.find(account)?;
        self.core.state().rename(id, email);
        Ok(())
    }

    /// The person changes the password: refresh tokens with Gmail scopes end.
    ///
    /// # Errors
    /// There is no such account.
    pub fn change_password(&self, account: &str) -> Result<(), Unknown> {
        let id = self.core.find(account)?;
        self.core.state().change_password(id);
        Ok(())
    }

    /// How long the access tokens live that are issued from now on.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.core.state().behaviour.lifetime = lifetime;
    }

    /// Whether refreshes rotate the refresh token from now on.
    pub fn set_rotation(&self, rotation: Rotation) {
        self.core.state().behaviour.rotation = rotation;
    }

    /// Whether the consent screen is in Testing: concerns the refresh tokens issued from now on.
    pub fn set_testing_mode(&self, testing: bool) {
        self.core.state().behaviour.testing_mode = testing;
    }

    /// Every proof of a key has to carry this nonce from now on, and every answer of the token endpoint tells it; `None` asks
    /// for none.
    ///
    /// # Errors
    /// No header can carry it.
    pub fn demand_dpop_nonce(&self, nonce: Option<&str>) -> Result<(), InvalidNonce> {
        self.core.proofs.demand(nonce)
    }

    /// The account's newest refresh token, over all clients: what somebody has who stole it.
    ///
    /// # Errors
    /// There is no such account.
    pub fn refresh_token_of(&self, account: &str) -> Result<Option<String>, Unknown> {
        let id = self.core.find(account)?;
        let newest = self.core.state().newest_grant(id);
        Ok(newest.map(|claims| self.core.minter.refresh(claims)))
    }

    /// Consents without showing a page, from now on.
    pub fn set_auto_approve(&self, policy: Option<AutoApprove>) {
        self.core.state().behaviour.auto_approve = policy;
    }

    /// Adds an account. One that is there already, by its address, stays as it is.
    pub fn add_account(&self, account: Account) {
        let mut state = self.core.state();
        if state.find(&account.email).is_none() {
            state.add_account(account, None);
        }
    }

    /// A refresh token for the main client, as if the account's owner had just consented. An unknown
    /// address becomes an account. Takes the same time however many there are.
    pub fn seed_grant(&self, account: &str, scopes: &[&str]) -> String {
        let claims = self
            .core
            .state()
            .seed(account, ClientId(0), scopes, self.core.now());
        self.core.minter.refresh(claims)
    }

    /// The same for another client of the project.
    ///
    /// # Errors
    /// There is no such client.
    pub fn seed_grant_for(&self, client_id: &str, account: &str, scopes: &[&str]) -> Result<String, Unknown> {
        let (client, _) = self
            .core
            .client(client_id)
            .ok_or_else(|| Unknown::new("client", client_id))?;
        let claims = self.core.state().seed(account, client, scopes, self.core.now());
        Ok(self.core.minter.refresh(claims))
    }

    /// Whether an access token is alive: what a resource server would find.
    pub fn is_alive(&self, token: &str) -> bool {
        self.core.account_of_token(token).is_some()
    }

    /// Makes a service account `<name>@<project>.iam.gserviceaccount.com`; returns its key file as Google's
    /// console gives it. A second call with the same name replaces the key.
    ///
    /// # Errors
    /// The RSA key could not be made.
    pub fn create_service_account(&self, name: &str) -> Result<Value, KeyError> {
        service_account::create(&self.core, name)
    }

    /// Lets a service account act for people with these scopes (domain-wide delegation).
    ///
    /// # Errors
    /// There is no such service account.
    pub fn delegate(&self, service_account: &str, scopes: &[&str]) -> Result<(), Unknown> {
        let known = service_account::delegate(&self.core, service_account, scopes);
        known
            .then_some(())
            .ok_or_else(|| Unknown::new("service account", service_account))
    }

    /// Signs id tokens with a new key from now on; the last one stays published.
    ///
    /// # Errors
    /// The RSA key could not be made.
    pub fn rotate_signing_key(&self) -> Result<(), KeyError> {
        let (key, _) = RsaKey::generate()?;
        self.core.replace_signing_key(key);
        Ok(())
    }

    /// The messages that Gmail accepted and still keeps, account by account, oldest first.
    pub fn sent_mails(&self) -> Vec<SentMail> {
        let state = self.core.state();
        let mut sent = Vec::new();
        for (_, account) in state.accounts() {
            let Some(workspace) = &account.workspace else {
                continue;
            };
            let filed = workspace
                .messages
                .iter()
                .filter(|filed| filed.labels.iter().any(|l| l == "SENT"));
            sent.extend(filed.map(|filed| SentMail {
                account: account.identity.email.clone(),
                recipients: filed.message.recipients(),
                subject: filed.message.header("subject").unwrap_or_default().to_owned(),
                snippet: filed.message.snippet(),
            }));
        }
        sent
    }

    /// What each account has granted.
    pub fn accounts(&self) -> Vec<AccountView> {
        let state = self.core.state();
        let view = |(id, account): (AccountId, &AccountState)| AccountView {
            email: account.identity.email.clone(),
            sub: account.identity.sub.clone(),
            refresh_tokens: state.live_grants(id),
            consents: account
                .consents
                .iter()
                .map(|(client, consent)| ConsentView {
                    client_id: self.core.clients[client.0].id.clone(),
                    scopes: consent.scopes.iter().cloned().collect(),
                })
                .collect(),
        };
        state.accounts().map(view).collect()
    }
}
