//! One renewal, from the intent to the release of the token.
//!
//! The order is what keeps grants alive: the intent is committed, then the provider is asked, then what it
//! answered is committed, and only then is the token released.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Broker, Event, EventKind, TokenKey, backoff, snapshot::IssuedToken, time, world::Trouble};
use crate::{
    clock::{self, Clock},
    google::{FailureKind, ProviderError, TokenAnswer, testing_mode_hint},
    id::IntegrationId,
    secret::RefreshToken,
    store::{Health, IntegrationRecord, RenewalOutcome, StoreError, TokenRecord},
    telemetry::audit::{Actor, AuditEvent, Decision},
    vault::Binding,
};

/// What came of a renewal, for everybody who waited for it.
pub(super) type Renewed = Result<Arc<IssuedToken>, Refused>;

/// Why there is no new token.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) kind: FailureKind,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
}

impl Refused {
    fn gone() -> Self {
        let message = "The account was disconnected or replaced meanwhile.".to_owned();
        Self {
            kind: FailureKind::Reconnect,
            message,
            retry_after: None,
        }
    }

    fn operator(message: String) -> Self {
        Self {
            kind: FailureKind::Operator,
            message,
            retry_after: None,
        }
    }
}

/// A failure inside a renewal.
enum Failure {
    /// The account is not what it was: nothing is recorded.
    Gone,
    /// Neither the provider nor the owner is to blame: the database or the key.
    Local(String),
    /// The provider said no, or nothing.
    Provider(ProviderError),
}

/// Renews what is due, until `shutdown`.
pub(super) async fn run(broker: Arc<Broker>, shutdown: CancellationToken) {
    let permits = Arc::new(Semaphore::new(broker.options.concurrency));
    loop {
        let renewal = async {
            // The permit first: what cannot start yet stays in the queue.
            let permit = permits.clone().acquire_owned().await.ok()?;
            Some((permit, broker.renewals.next(&broker.clock as &dyn Clock).await))
        };
        let (permit, key) = tokio::select! {
            () = shutdown.cancelled() => return,
            next = renewal => match next {
                Some(next) => next,
                None => return,
            },
        };
        let broker = broker.clone();
        tokio::spawn(async move {
            // Failures are recorded where they happen.
            let _ = broker.renew(&key).await;
            drop(permit);
        });
    }
}

impl Broker {
    /// Obtains a new token for `key`, together with everybody else who wants it now.
    pub(super) async fn renew(self: &Arc<Self>, key: &TokenKey) -> Renewed {
        let work = || {
            let (broker, key) = (self.clone(), key.clone());
            async move { broker.renew_alone(&key).await }
        };
        let lost = || {
            Err(Refused::operator(
                "The renewal was interrupted; see the daemon's log.".to_owned(),
            ))
        };
        self.flights.join(key, work).await.unwrap_or_else(lost)
    }

    async fn renew_alone(self: Arc<Self>, key: &TokenKey) -> Renewed {
        let Some(turn) = self
            .world()
            .accounts
            .get(&key.integration)
            .map(|account| account.turn.clone())
        else {
            return Err(Refused::gone());
        };
        let _turn = turn.lock_owned().await;
        match self.store.begin_renewal(&key.integration, self.now()).await {
            Ok(Some(record)) => {
                let outcome = self.ask_provider(key, &record).await;
                self.conclude(key, &record, outcome).await
            }
            Ok(None) => Err(Refused::gone()),
            Err(error) => self.failed(key, None, Failure::Local(database(&error))).await,
        }
    }

    async fn ask_provider(
        &self,
        key: &TokenKey,
        record: &IntegrationRecord,
    ) -> Result<Arc<IssuedToken>, Failure> {
        if record.authority != self.around.authority || record.health != Health::Active {
            // The situation says why; a grant is never sent to a place it does not belong to.
            return Err(Failure::Gone);
        }
        let refresh_token = self.open_refresh_token(record).map_err(Failure::Local)?;
        let asked_at = self.clock.uncorrected();
        let asked = std::time::Instant::now();
        let answer = self.provider.refresh(&refresh_token, &key.scopes).await;
        self.metrics.provider_request("refresh", asked.elapsed());
        drop(refresh_token);
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.learn_time(error.server_time);
                return Err(Failure::Provider(error));
            }
        };
        self.learn_time(answer.server_time);
        // The token's life began after the question was asked, so this never overstates it.
        let issued_at = self.clock.correct(asked_at);
        self.commit(key, record, answer, issued_at).await
    }

    /// Reads the refresh token of a record.
    pub(super) fn open_refresh_token(&self, record: &IntegrationRecord) -> Result<RefreshToken, String> {
        let plain = self
            .vault
            .open(&Binding::RefreshToken(&record.id), &record.secret)
            .map_err(|error| format!("The grant of {} cannot be opened: {error}", record.account))?;
        std::str::from_utf8(&plain)
            .map(RefreshToken::from)
            .map_err(|_| format!("The grant of {} is not text.", record.account))
    }

    pub(super) fn learn_time(&self, server_time: Option<Timestamp>) {
        if server_time.is_some_and(|time| self.clock.learn(time)) {
            tracing::warn!(skew = %self.clock.skew(), "the clock differs from the provider's; correcting by it");
            self.renewals.wake();
            self.expiries.wake();
        }
    }

    async fn commit(
        &self,
        key: &TokenKey,
        record: &IntegrationRecord,
        answer: TokenAnswer,
        issued_at: Timestamp,
    ) -> Result<Arc<IssuedToken>, Failure> {
        let token = Arc::new(IssuedToken {
            access_token: answer.access_token,
            integration: key.integration.clone(),
            scopes: answer.scopes.unwrap_or_else(|| key.scopes.clone()),
            issued_at,
            expires_at: clock::after(issued_at, answer.expires_in),
        });
        let rotated = answer.refresh_token;
        let mut wait = 0;
        let version = loop {
            let outcome = RenewalOutcome {
                rotated: rotated.as_ref().map(|secret| {
                    self.vault
                        .seal(&Binding::RefreshToken(&record.id), secret.expose().as_bytes())
                }),
                health: Health::Active,
                renewed_at: Some(issued_at),
                token: Some(self.token_record(key, &token)),
            };
            match self
                .store
                .finish_renewal(&record.id, record.version, outcome)
                .await
            {
                Ok(version) => break version,
                Err(StoreError::Conflict | StoreError::Closed) => return Err(Failure::Gone),
                // Nothing was rotated, so nothing can be lost: the token may be used while the disk is mended.
                Err(error) if rotated.is_none() => {
                    tracing::error!(integration = %record.id, %error, "the token could not be stored");
                    break record.version;
                }
                Err(error) => {
                    // The old refresh token is spent and the new one exists only here: try until it is kept.
                    tracing::error!(integration = %record.id, %error, "the rotated grant could not be stored");
                    wait += 1;
                    let pause = backoff::delay(&*self.entropy, wait, None);
                    let wake = clock::after(self.now(), pause);
                    self.clock.sleep_until(wake).await;
                }
            }
        };
        self.release(key, record.version, version, &token)
            .then_some(token)
            .ok_or(Failure::Gone)
    }

    fn token_record(&self, key: &TokenKey, token: &IssuedToken) -> TokenRecord {
        TokenRecord {
            integration: key.integration.clone(),
            requested: key.scopes.clone(),
            granted: token.scopes.clone(),
            issued_at: token.issued_at,
            expires_at: token.expires_at,
            secret: self.vault.seal(
                &Binding::AccessToken {
                    integration: &key.integration,
                    requested: &key.scopes,
                },
                token.access_token.expose().as_bytes(),
            ),
        }
    }

    /// Hands the token out, unless the account was replaced meanwhile.
    fn release(&self, key: &TokenKey, read: u64, version: u64, token: &Arc<IssuedToken>) -> bool {
        let mut world = self.world();
        let Some(account) = world.accounts.get_mut(&key.integration) else {
            return false;
        };
        if account.record.version != read {
            return false;
        }
        account.record.version = version;
        account.record.renewed_at = Some(token.issued_at);
        account.record.renewal = None;
        let slot = world.slots.entry(key.clone()).or_default();
        slot.token = Some(token.clone());
        slot.trouble = None;
        let users = slot.users.clone();
        self.expiries.schedule(key, token.expires_at);
        self.renewals.cancel(key);
        if !users.is_empty() {
            let lead = time::lead(token.floor(), &*self.entropy);
            self.renewals.schedule(key, clock::before(token.expires_at, lead));
        }
        self.republish(&mut world, users);
        true
    }

    async fn conclude(
        &self,
        key: &TokenKey,
        record: &IntegrationRecord,
        outcome: Result<Arc<IssuedToken>, Failure>,
    ) -> Renewed {
        match outcome {
            Ok(token) => {
                self.metrics.renewal("ok");
                self.note_renewal(
                    key,
                    Decision::Allowed,
                    EventKind::TokenRenewed,
                    Some(&token),
                    String::new(),
                );
                Ok(token)
            }
            Err(failure) => self.failed(key, Some(record), failure).await,
        }
    }

    async fn failed(&self, key: &TokenKey, record: Option<&IntegrationRecord>, failure: Failure) -> Renewed {
        let refused = match failure {
            Failure::Gone => return Err(Refused::gone()),
            Failure::Local(message) => Refused::operator(message),
            Failure::Provider(error) => {
                let message = self.explain(&error, record);
                if let Some(record) = record {
                    self.record_failure(record, &error, &message).await;
                }
                Refused {
                    kind: error.kind,
                    message,
                    retry_after: error.retry_after,
                }
            }
        };
        self.metrics.renewal(outcome_label(refused.kind));
        tracing::warn!(integration = %key.integration, kind = ?refused.kind, message = refused.message, "renewal failed");
        self.note_renewal(
            key,
            Decision::Failed,
            EventKind::RenewalFailed,
            None,
            refused.message.clone(),
        );
        if refused.kind == FailureKind::Reconnect {
            self.withdraw(&key.integration, &refused.message);
        } else {
            self.back_off(key, &refused);
        }
        Err(refused)
    }

    /// The sentence that every surface shows, with what this broker alone knows about the grant.
    fn explain(&self, error: &ProviderError, record: Option<&IntegrationRecord>) -> String {
        let mut message = error.message.clone();
        let (FailureKind::Reconnect, Some(record)) = (error.kind, record) else {
            return message;
        };
        if let Some(cut) = &record.renewal {
            message.push_str(&format!(
                " A renewal begun at {} was cut off before its answer was stored: if the provider had rotated the \
                 grant by then, that crash cost it.",
                clock::rfc3339(cut.started_at)
            ));
        } else if let Some(hint) = testing_mode_hint(record.connected_at, self.now()) {
            message.push(' ');
            message.push_str(hint);
        }
        message
    }

    /// Commits what a failure means for the grant. Where no answer came at all, the intent stays: the provider
    /// may have rotated the grant, and only the next answer tells.
    async fn record_failure(&self, record: &IntegrationRecord, error: &ProviderError, message: &str) {
        let health = match error.kind {
            FailureKind::Reconnect => Health::ReconnectRequired(message.to_owned()),
            _ if error.is_unanswered() => return,
            _ => Health::Active,
        };
        let outcome = RenewalOutcome {
            rotated: None,
            health,
            renewed_at: None,
            token: None,
        };
        match self
            .store
            .finish_renewal(&record.id, record.version, outcome)
            .await
        {
            Ok(version) => {
                if let Some(account) = self.world().accounts.get_mut(&record.id)
                    && account.record.version == record.version
                {
                    account.record.version = version;
                }
            }
            Err(StoreError::Conflict) => {}
            Err(error) => tracing::error!(integration = %record.id, %error, "a failure could not be stored"),
        }
    }

    /// The grant is dead: its tokens leave every agent at once.
    fn withdraw(&self, id: &IntegrationId, message: &str) {
        let mut world = self.world();
        let Some(account) = world.accounts.get_mut(id) else {
            return;
        };
        account.record.health = Health::ReconnectRequired(message.to_owned());
        let owner = account.record.owner.clone();
        self.forget_tokens(&mut world, id);
        let agents = world.agents_of(&owner);
        self.republish(&mut world, agents);
    }

    /// Takes an account's tokens out of cache and queues.
    pub(super) fn forget_tokens(&self, world: &mut super::World, id: &IntegrationId) {
        for key in world.keys_of(id) {
            self.renewals.cancel(&key);
            self.expiries.cancel(&key);
            if let Some(slot) = world.slots.get_mut(&key) {
                slot.token = None;
                slot.trouble = None;
                if slot.users.is_empty() {
                    world.slots.remove(&key);
                }
            }
        }
    }

    /// Keeps the token that still lives, and tries again later.
    fn back_off(&self, key: &TokenKey, refused: &Refused) {
        let now = self.now();
        let mut world = self.world();
        let slot = world.slots.entry(key.clone()).or_default();
        let failures = slot.trouble.as_ref().map_or(0, |trouble| trouble.failures) + 1;
        let pause = backoff::delay(&*self.entropy, failures, refused.retry_after);
        let retry_at = clock::after(now, pause);
        slot.trouble = Some(Trouble {
            kind: refused.kind,
            message: refused.message.clone(),
            failures,
            retry_at,
        });
        let users = slot.users.clone();
        if users.is_empty() {
            // Asked for once and refused: the next who asks tries again, after the pause.
            self.expiries.schedule(key, retry_at);
        } else {
            self.renewals.schedule(key, retry_at);
        }
        self.republish(&mut world, users);
    }

    fn note_renewal(
        &self,
        key: &TokenKey,
        decision: Decision,
        kind: EventKind,
        token: Option<&Arc<IssuedToken>>,
        message: String,
    ) {
        let now = self.now();
        let scopes = token.map_or(&key.scopes, |token| &token.scopes);
        let capabilities = self.around.catalog.covered_by(scopes);
        let detail = if message.is_empty() {
            let users = self.world().slots.get(key).map_or(0, |slot| slot.users.len());
            format!("for {users} agents")
        } else {
            message.clone()
        };
        self.recorder.record(AuditEvent {
            time: now,
            actor: Actor::Daemon,
            action: kind.as_str(),
            integration: Some(key.integration.clone()),
            capabilities: capabilities.clone(),
            decision,
            detail,
        });
        self.emit(Event {
            time: now,
            kind,
            agent: None,
            integration: Some(key.integration.clone()),
            state: None,
            message,
            capabilities,
            expires_at: token.map(|token| token.expires_at),
        });
    }
}

fn outcome_label(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Retry => "retry",
        FailureKind::Reconnect => "reconnect",
        FailureKind::Operator => "operator",
        FailureKind::Permission => "permission",
    }
}

fn database(error: &StoreError) -> String {
    format!("The database does not take the intent to renew, so the provider was not asked: {error}")
}
