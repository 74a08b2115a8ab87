//! One renewal, from the intent to the release of the token.
//!
//! The order is what keeps grants alive: the intent is committed, then the provider is asked, then what it
//! answered is committed, and only then is the token released.

use std::{sync::Arc, time::Duration};

use tokio::sync::SemaphorePermit;

use crate::{
    audit::audit_writer::AuditWriter,
    clock::Uptime,
    entropy::SharedEntropy,
    id::IntegrationId,
    policy::context::PolicyContext,
    provider::{ConsentProvider, NoToken, Remedy, TokenAnswer, TokenSource},
    registry::{
        ending::Ending,
        events::{Event, EventKind, Events},
        keys::TokenKey,
        renewal_fault::RenewalFault,
        snapshot::IssuedToken,
        state::SharedRegistry,
        time::{self, BrokerClock},
        tokens::Cause,
    },
    renewal::{
        assertions::Assertions,
        backoff,
        outcome::{Failure, Refused, Renewed},
        publisher::Publisher,
        queue::Queue,
        recovery::Recovery,
        request_places::RequestPlaces,
        rotation::Rotations,
        schedule::Schedule,
        secrets::{open_proof_key, open_refresh_token},
        services::Services,
        successors::SharedSuccessors,
        unkept::Unkept,
    },
    secret::RefreshToken,
    store::{Grant, Health, IntegrationRecord, RenewalOutcome, SharedStore, StoreError, TokenRecord},
    telemetry::{
        Metrics,
        audit::{Actor, AuditEvent, Concern, Decision},
    },
    vault::{Binding, Vault},
};

/// A grant that is in memory alone is offered to the database so often at least: that costs little, and it may be the only
/// one.
const KEEP_AGAIN: Duration = Duration::from_secs(2);

/// Carries out one renewal: the intent, the question to the provider, the commit, the release.
pub(crate) struct Renewer {
    pub(crate) audit: Arc<AuditWriter>,
    pub(crate) clock: Arc<BrokerClock>,
    pub(crate) context: Arc<PolicyContext>,
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) entropy: SharedEntropy,
    pub(crate) events: Events,
    pub(crate) expiries: Arc<Queue>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) registry: Arc<SharedRegistry>,
    pub(crate) requests: Arc<RequestPlaces>,
    pub(crate) rotations: Arc<Rotations>,
    pub(crate) store: SharedStore,
    pub(crate) unkept: Arc<Unkept>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) assertions: Arc<Assertions>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) recovery: Arc<Recovery>,
    pub(crate) successors: SharedSuccessors,
}

impl Renewer {
    /// With what it needs of the parts before it.
    pub(crate) fn new(
        services: &Services,
        assertions: &Arc<Assertions>,
        publisher: &Arc<Publisher>,
        recovery: &Arc<Recovery>,
        successors: SharedSuccessors,
    ) -> Arc<Self> {
        Arc::new(Self {
            audit: services.audit.clone(),
            clock: services.clock.clone(),
            context: services.context.clone(),
            schedule: services.schedule.clone(),
            entropy: services.entropy.clone(),
            events: services.events.clone(),
            expiries: services.expiries.clone(),
            metrics: services.metrics.clone(),
            registry: services.registry.clone(),
            requests: services.requests.clone(),
            rotations: services.rotations.clone(),
            store: services.store.clone(),
            unkept: services.unkept.clone(),
            vault: services.vault.clone(),
            assertions: assertions.clone(),
            publisher: publisher.clone(),
            recovery: recovery.clone(),
            successors,
        })
    }

    /// Obtains a new token for `key`. The caller has the account's turn, and saw in it that the grant belongs to
    /// this client and endpoint: it is never sent elsewhere.
    pub(crate) async fn renew_alone(&self, key: &TokenKey) -> Renewed {
        // Before the intent: what is recorded is also sent.
        let Some(account) = self.recorded(&key.integration) else {
            return Err(Refused::gone());
        };
        let Some(permit) = self.requests.take(&account.provider).await else {
            return Err(Refused::ending());
        };
        match self.store.begin_renewal(&key.integration, self.clock.now()).await {
            Ok(Some(grant)) => {
                self.recovery.store_works_again();
                let outcome = self.ask_provider(key, &grant, permit).await;
                self.conclude(key, &grant, outcome).await
            }
            Ok(None) => Err(Refused::gone()),
            Err(error) => {
                let Some(grant) = self.grant_without_intent(&key.integration).await else {
                    let fault = RenewalFault::IntentNotStored(Arc::new(error));
                    let failure = Failure::Local(Cause::Store, fault);
                    return self.failed(key, None, failure).await;
                };
                tracing::error!(integration = %key.integration, %error, "renewing without a record of it");
                let outcome = self.ask_provider(key, &grant, permit).await;
                self.conclude(key, &grant, outcome).await
            }
        }
    }

    /// The grant of an account whose intent to renew could not be recorded, where that is only there for the case that
    /// the provider replaces the grant, and this one does not: then a full disk costs nobody a token.
    async fn grant_without_intent(&self, id: &IntegrationId) -> Option<Grant> {
        let provider = self.recorded(id)?.provider;
        if !self.rotations.is_known_to_keep(&provider) {
            return None;
        }
        let stored = self.store.integration(id).await.ok()??;
        Some(Grant {
            version: stored.version,
            health: stored.health,
            renewal: stored.renewal,
            secret: stored.secret,
            proof_key: stored.proof_key,
        })
    }

    async fn ask_provider(
        &self,
        key: &TokenKey,
        grant: &Grant,
        permit: SemaphorePermit<'_>,
    ) -> Result<Arc<IssuedToken>, Failure> {
        if grant.health != Health::Active {
            // The snapshot says why.
            return Err(Failure::Gone);
        }
        let asked_at = self.clock.uptime();
        let account = self.recorded(&key.integration).ok_or(Failure::Gone)?;
        let provider = self.context.providers.get(&account.provider);
        let answer = match provider.ok_or(Failure::Gone)?.tokens.clone() {
            TokenSource::Consent(provider) => self.refresh(&*provider, &account, key, grant).await,
            TokenSource::Key(provider) => {
                self.assertions
                    .assert_with(&*provider, &account, &grant.secret, &key.scopes)
                    .await
            }
        };
        drop(permit);
        let answer = answer?;
        self.commit(key, grant.version, answer, asked_at).await
    }

    /// Asks with a person's refresh token, and a proof of the key that it is bound to. A rotated one is kept before anything else is made of the answer.
    async fn refresh(
        &self,
        provider: &dyn ConsentProvider,
        account: &IntegrationRecord,
        key: &TokenKey,
        grant: &Grant,
    ) -> Result<TokenAnswer, Failure> {
        let named = || account.account.clone();
        let unusable = |fault| Failure::Local(Cause::Other, RenewalFault::Secret(fault));
        let refresh_token =
            open_refresh_token(&self.vault, &account.id, &grant.secret, named).map_err(unusable)?;
        let proof_key = grant.proof_key.as_ref();
        let proof_key = proof_key.map(|sealed| open_proof_key(&self.vault, &account.id, sealed, named));
        let proof_key = proof_key.transpose().map_err(unusable)?;
        let asked = std::time::Instant::now();
        let answer = self
            .recovery
            .proven(&account.provider, proof_key.as_ref(), |proven| {
                provider.refresh(&refresh_token, &key.scopes, proven)
            })
            .await;
        self.metrics.provider_request("refresh", asked.elapsed());
        self.rotations.learn_from(&account.provider, &answer);
        let NoToken {
            error,
            refresh_token: rotated,
            ..
        } = match answer {
            Ok(answer) => {
                self.recovery.note_accepted(&account.provider, answer.server_time);
                return Ok(answer);
            }
            Err(failure) => failure,
        };
        if let Some(rotated) = rotated {
            let version = self.keep_answer(key, grant.version, Some(&rotated), None).await?;
            self.publisher.note_version(&key.integration, version);
            // What was said of the old grant says nothing of this one.
            if error.kind == Remedy::Reconnect {
                return Err(Failure::Replaced(*error));
            }
        }
        Err(Failure::Provider(*error))
    }

    /// Who runs the provider of an account, for people.
    fn provider_of(&self, id: &IntegrationId) -> String {
        let account = self.recorded(id);
        account.map_or_else(
            || "The provider".to_owned(),
            |account| self.context.name_of(&account.provider),
        )
    }

    /// An account as it is known; its secret is read from the store.
    pub(super) fn recorded(&self, id: &IntegrationId) -> Option<IntegrationRecord> {
        let registry = self.registry.lock();
        registry.accounts.get(id).map(|account| account.record.clone())
    }

    async fn commit(
        &self,
        key: &TokenKey,
        version: u64,
        answer: TokenAnswer,
        issued_at: Uptime,
    ) -> Result<Arc<IssuedToken>, Failure> {
        let token = Arc::new(IssuedToken {
            access_token: answer.access_token,
            integration: key.integration.clone(),
            scopes: answer
                .scopes
                // Equal sets share their memory.
                .filter(|granted| *granted != key.scopes)
                .unwrap_or_else(|| key.scopes.clone()),
            issued_at,
            expires_at: issued_at.after(answer.expires_in),
        });
        let told = answer.refresh_token_expires_in.map(|life| issued_at.after(life));
        let ends = self.publisher.new_end(&key.integration, told);
        let rotated = answer.refresh_token;
        let version = self
            .keep_answer(key, version, rotated.as_ref(), Some((&token, ends)))
            .await?;
        self.release(key, version, &token, ends)
            .then_some(token)
            .ok_or(Failure::Gone)
    }

    /// Commits what an answer brought, and returns the account's version after it. Where a grant was rotated it does not
    /// give up before that is kept.
    async fn keep_answer(
        &self,
        key: &TokenKey,
        version: u64,
        rotated: Option<&RefreshToken>,
        brought: Option<(&Arc<IssuedToken>, Option<Uptime>)>,
    ) -> Result<u64, Failure> {
        let (token, ends) = brought.unzip();
        let (mut wait, mut unkept) = (0, None);
        loop {
            let outcome = RenewalOutcome {
                rotated: rotated.map(|secret| {
                    self.vault.seal(
                        &Binding::RefreshToken(&key.integration),
                        secret.expose().as_bytes(),
                    )
                }),
                health: Health::Active,
                grant_expires_at: ends.flatten().map(|ends| self.clock.moment().wall_at(ends)),
                renewed_at: token.map(|token| self.clock.moment().wall_at(token.issued_at)),
                token: token.map(|token| self.token_record(key, token)),
            };
            match self
                .store
                .finish_renewal(&key.integration, version, outcome)
                .await
            {
                Ok(version) => return Ok(version),
                Err(StoreError::Conflict) => {
                    if let Some(secret) = rotated {
                        self.successors.owe_successor(&key.integration, secret).await;
                    }
                    return Err(Failure::Gone);
                }
                Err(StoreError::Closed) => return Err(Failure::Gone),
                // Nothing was rotated, so nothing can be lost: the token may be used while the disk is mended.
                Err(error) if rotated.is_none() => {
                    tracing::error!(integration = %key.integration, %error, "the token could not be stored");
                    return Ok(version);
                }
                Err(error) => {
                    // The old refresh token is spent and the new one exists only here: try until it is kept.
                    if unkept.is_none() {
                        tracing::error!(integration = %key.integration, %error, "the rotated grant could not be stored");
                        let account = self.recorded(&key.integration).map(|record| record.account);
                        unkept = Some(self.unkept.note(&key.integration, account.unwrap_or_default()));
                    }
                    wait += 1;
                    self.wait_for_store(key, wait, error).await;
                }
            }
        }
    }

    /// Says that a grant cannot be kept yet, and pauses before it is tried again for the `wait`th time.
    async fn wait_for_store(&self, key: &TokenKey, wait: u32, error: StoreError) {
        let fault = RenewalFault::GrantNotStored {
            provider: self.provider_of(&key.integration),
            error: Arc::new(error),
        };
        self.recovery
            .back_off(key, &Refused::operator(Cause::Store, fault), true);
        let pause = backoff::delay(&*self.entropy, wait, None).min(KEEP_AGAIN);
        self.clock.sleep_until(self.clock.uptime().after(pause)).await;
    }

    fn token_record(&self, key: &TokenKey, token: &IssuedToken) -> TokenRecord {
        let now = self.clock.moment();
        TokenRecord {
            integration: key.integration.clone(),
            requested: key.scopes.clone(),
            granted: token.scopes.clone(),
            issued_at: now.wall_at(token.issued_at),
            issued_in_boot: self.clock.in_boot(token.issued_at),
            expires_at: now.wall_at(token.expires_at),
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
    fn release(&self, key: &TokenKey, version: u64, token: &Arc<IssuedToken>, ends: Option<Uptime>) -> bool {
        let mut registry = self.registry.lock();
        let Some(account) = registry.accounts.get_mut(&key.integration) else {
            return false;
        };
        // Versions only grow. An older one in memory means that the answer to an earlier commit was lost.
        // And what was withdrawn while the provider answered stays withdrawn.
        if account.record.version > version || account.record.health != Health::Active {
            return false;
        }
        account.record.version = version;
        account.record.renewed_at = Some(self.clock.moment().wall_at(token.issued_at));
        account.record.renewal = None;
        account.check_at = None;
        if let Some(ends) = ends {
            let now = self.clock.moment();
            account.record.grant_expires_at = Some(now.wall_at(ends));
            account.ending = Ending::of(&account.record, now);
            self.publisher.schedule_ending(account);
        }
        let token_entry = registry.tokens.make(key);
        token_entry.token = Some(token.clone());
        token_entry.last_failure = None;
        token_entry.superseded = false;
        let users = token_entry.users.clone();
        self.expiries
            .schedule(key, token.next_change(self.clock.uptime()));
        if users.is_empty() {
            self.schedule.cancel(key);
        } else {
            self.schedule
                .renew_at(key, time::renewal_due(&key.scopes, token, &*self.entropy));
        }
        self.publisher.republish(&mut registry, users);
        true
    }

    async fn conclude(
        &self,
        key: &TokenKey,
        grant: &Grant,
        outcome: Result<Arc<IssuedToken>, Failure>,
    ) -> Renewed {
        match outcome {
            Ok(token) => {
                self.metrics.renewal("ok");
                let deviation = token.deviation(&key.scopes);
                if !deviation.is_empty() {
                    tracing::warn!(integration = %key.integration, message = deviation, "the answer differs");
                }
                self.note_renewal(
                    key,
                    Decision::Allowed,
                    EventKind::TokenRenewed,
                    Some(&token),
                    deviation,
                );
                Ok(token)
            }
            Err(failure) => self.failed(key, Some(grant), failure).await,
        }
    }

    pub(crate) fn note_renewal(
        &self,
        key: &TokenKey,
        decision: Decision,
        kind: EventKind,
        token: Option<&Arc<IssuedToken>>,
        message: String,
    ) {
        let now = self.clock.now();
        let scopes = token.map_or(&key.scopes, |token| &token.scopes);
        let (provider, users, concern) = {
            let registry = self.registry.lock();
            let account = registry.accounts.get(&key.integration);
            (
                account.map(|account| account.record.provider.clone()),
                registry
                    .tokens
                    .get(key)
                    .map_or(0, |token_entry| token_entry.users.len()),
                account.map_or_else(Concern::default, |account| Concern::owner(&account.record.owner)),
            )
        };
        let provider = provider.as_ref().unwrap_or(self.context.providers.first().id());
        let capabilities = self.context.catalog.covered_by(provider, scopes);
        let detail = match token {
            Some(_) if message.is_empty() && users == 1 => "for 1 agent".to_owned(),
            Some(_) if message.is_empty() => format!("for {users} agents"),
            Some(_) => format!("for {users} agents. {message}"),
            None => message.clone(),
        };
        let owner = concern.owner.clone();
        self.audit.record(AuditEvent {
            time: now,
            actor: Actor::Daemon,
            action: kind.as_str(),
            integration: Some(key.integration.clone()),
            capabilities: capabilities.clone(),
            decision,
            detail,
            concern,
        });
        self.events.emit(Event {
            time: now,
            kind,
            owner,
            agent: None,
            integration: Some(key.integration.clone()),
            state: None,
            message,
            capabilities,
            expires_at: self.publisher.shown_end(token.map(Arc::as_ref)),
        });
    }
}
