//! Grants that were given up here and that the provider has not yet been told of: tried again until it is done.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Uptime,
    entropy::SharedEntropy,
    id::IntegrationId,
    policy::context::PolicyContext,
    provider::{Provider, Remedy},
    registry::{keys::TokenKey, time::BrokerClock},
    renewal::{
        backoff, outcome::Renewed, services::Services, single_flight::SingleFlight, successors::Successors,
    },
    revocation::{
        fault::{RevocationEnding, RevocationFault, RevocationProblem},
        provider_accounts::ProviderAccounts,
        sentences,
    },
    secret::RefreshToken,
    store::{RevocationRecord, SharedStore},
    telemetry::audit::{Actor, AuditEvent, Concern},
    vault::{Binding, Vault},
};

/// A revocation that is still to be done.
#[derive(Clone)]
pub struct PendingRevocation {
    /// The grant.
    pub record: RevocationRecord,
    /// Why it was not done so far; `None` before the first attempt after a restart.
    problem: Option<RevocationProblem>,
    /// When it is tried next.
    pub retry_at: Uptime,
    failures: u32,
    /// Somebody is at it.
    under_way: bool,
}

impl PendingRevocation {
    /// Why it was not done so far, in a sentence; empty before the first attempt after a restart.
    pub fn message(&self) -> String {
        let problem = self.problem.as_ref();
        problem.map(sentences::problem).unwrap_or_default()
    }
}

/// How many are tried at once: the provider may take its time with each.
const AT_ONCE: usize = 8;
/// How long the next attempt waits where the operator has to do something first.
const OPERATORS_PAUSE: Duration = Duration::from_secs(15 * 60);

/// All of them.
#[derive(Default)]
pub(crate) struct PendingRevocations {
    list: Mutex<BTreeMap<IntegrationId, PendingRevocation>>,
    changed: Notify,
}

impl PendingRevocations {
    fn list(&self) -> MutexGuard<'_, BTreeMap<IntegrationId, PendingRevocation>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next that nobody is at, as long as not too many are under way.
    fn earliest(&self) -> Option<PendingRevocation> {
        let pending = self.list();
        if pending.values().filter(|pending| pending.under_way).count() >= AT_ONCE {
            return None;
        }
        let waiting = pending.values().filter(|pending| !pending.under_way);
        waiting.min_by_key(|pending| pending.retry_at).cloned()
    }

    fn begin(&self, id: &IntegrationId) {
        if let Some(pending) = self.list().get_mut(id) {
            pending.under_way = true;
        }
    }

    /// Those of an account.
    fn those_of(&self, subject: &str, issuer_binding: &str) -> Vec<RevocationRecord> {
        let pending = self.list();
        let records = pending.values().map(|pending| &pending.record);
        records
            .filter(|record| record.subject == subject && *record.issuer_binding == *issuer_binding)
            .cloned()
            .collect()
    }
}

/// What is to be done once more.
pub(crate) struct Later {
    /// Why it did not work this time.
    pub(crate) problem: RevocationProblem,
    /// How long the provider wants to be left alone, or how long it makes sense to wait at least.
    pub(crate) not_before: Option<Duration>,
}

/// How an attempt ended.
pub(crate) enum Attempt {
    /// The provider has no such grant any more.
    Done,
    /// It is worth trying again.
    Later(Later),
    /// It cannot be done from here.
    Never(RevocationFault),
}

/// Revokes grants at the provider that were given up here, until it is done.
pub struct Revocations {
    clock: Arc<BrokerClock>,
    context: Arc<PolicyContext>,
    entropy: SharedEntropy,
    single_flight: Arc<SingleFlight<TokenKey, Renewed>>,
    pending: PendingRevocations,
    provider_accounts: Arc<ProviderAccounts>,
    store: SharedStore,
    vault: Arc<Vault>,
}

impl Revocations {
    /// With what it needs of the parts before it.
    pub(crate) fn new(services: &Services, provider_accounts: &Arc<ProviderAccounts>) -> Arc<Self> {
        Arc::new(Self {
            clock: services.clock.clone(),
            context: services.context.clone(),
            entropy: services.entropy.clone(),
            pending: PendingRevocations::default(),
            provider_accounts: provider_accounts.clone(),
            store: services.store.clone(),
            vault: services.vault.clone(),
            single_flight: services.single_flight.clone(),
        })
    }

    /// The revocations that are still to be done, by id.
    pub fn pending_revocations(&self) -> Vec<PendingRevocation> {
        self.pending.list().values().cloned().collect()
    }

    /// Asks the provider to end a grant.
    pub(crate) async fn try_revoke(&self, record: &RevocationRecord) -> Attempt {
        // What an operator can mend is waited for: without the grant, nobody could revoke it any more.
        let operator = |fault: RevocationFault| {
            Attempt::Later(Later {
                problem: fault.into(),
                not_before: Some(OPERATORS_PAUSE),
            })
        };
        let provider = self.context.providers.bound_to(&record.issuer_binding);
        let Some(provider) = provider.and_then(Provider::consent) else {
            return operator(RevocationFault::OtherBinding(record.issuer_binding.clone()));
        };
        let opened = self
            .vault
            .open(&Binding::RefreshToken(&record.id), &record.secret);
        let plain = match opened {
            Ok(plain) => plain,
            Err(error) => return operator(RevocationFault::Sealed(error)),
        };
        let Ok(token) = std::str::from_utf8(&plain).map(RefreshToken::from) else {
            return Attempt::Never(RevocationFault::NotText);
        };
        if token.expose().is_empty() {
            // It was deleted when the provider announced its end.
            return Attempt::Done;
        }
        let answer = provider.revoke(&token).await;
        self.provider_accounts
            .note_revocation(&record.subject, self.clock.uptime());
        match answer {
            Ok(()) => Attempt::Done,
            Err(error) if error.kind == Remedy::Retry => Attempt::Later(Later {
                not_before: error.retry_after,
                problem: RevocationFault::from(error).into(),
            }),
            // It is dead there already, and this is all that can be said of it.
            Err(error) if error.kind == Remedy::Reconnect => Attempt::Never(error.into()),
            Err(error) => operator(error.into()),
        }
    }

    /// The account was connected again: revoking its old grant would end the new one with it. The caller deals with
    /// the account alone.
    pub(crate) async fn give_up_revocations(&self, subject: &str, issuer_binding: &str) {
        for record in self.pending.those_of(subject, issuer_binding) {
            self.complete_revocation(&record, Actor::Daemon, RevocationEnding::ConnectedAgain)
                .await;
        }
    }

    /// A revocation that is still to be done, as it is now.
    pub(crate) fn owed(&self, id: &IntegrationId) -> Option<RevocationRecord> {
        let pending = self.pending.list();
        pending.get(id).map(|pending| pending.record.clone())
    }

    /// What is to be revoked is another grant by now.
    async fn replace_secret(&self, id: &IntegrationId, successor: &RefreshToken) {
        let binding = Binding::RefreshToken(id);
        let secret = self.vault.seal(&binding, successor.expose().as_bytes());
        let record = {
            let mut pending = self.pending.list();
            let Some(pending) = pending.get_mut(id) else {
                return;
            };
            pending.record.secret = secret;
            pending.record.clone()
        };
        if let Err(error) = self.store.put_revocation(record).await {
            tracing::error!(integration = %id, %error, "the successor of a grant that is to be revoked is in memory alone");
        }
    }

    /// A revocation that the caller does at once. From here on whoever connects the account anew finds it.
    pub(crate) fn enqueue_revocation(&self, record: RevocationRecord) {
        let pending = PendingRevocation {
            problem: None,
            retry_at: self.clock.uptime(),
            failures: 0,
            under_way: true,
            record,
        };
        let id = pending.record.id.clone();
        self.pending.list().insert(id, pending);
    }

    /// A revocation is done, or given up: nothing is owed any more, and the trail says how it ended, by the same commit.
    pub(crate) async fn complete_revocation(
        &self,
        record: &RevocationRecord,
        actor: Actor,
        ending: RevocationEnding,
    ) {
        let how = sentences::ending(&ending);
        let detail = format!("{} of {}: {how}", record.account, record.owner);
        let event = AuditEvent {
            integration: Some(record.id.clone()),
            detail: detail.clone(),
            concern: Concern::owner(&record.owner),
            ..AuditEvent::new(
                self.clock.now(),
                actor,
                "integration.revocation",
                ending.decision(),
            )
        };
        match self.store.complete_revocation(&record.id, vec![event]).await {
            Ok(()) => {
                tracing::info!(integration = %record.id, detail, "revocation settled");
                self.pending.list().remove(&record.id);
                self.pending.changed.notify_one();
            }
            Err(error) => {
                tracing::error!(integration = %record.id, %error, "a revocation that is over could not be deleted");
                // It is asked for once more, and found done.
                let error = Arc::new(error);
                let later = Later {
                    problem: RevocationProblem::NotDeleted { ending, error },
                    not_before: None,
                };
                self.revoke_later(record.clone(), later, 1);
            }
        }
    }

    /// One that was owed already when the daemon started.
    pub(crate) fn take_over(&self, record: RevocationRecord) {
        self.put_off(record, None, None, 1);
    }

    /// Tries it again later, more rarely each time.
    pub(crate) fn revoke_later(&self, record: RevocationRecord, later: Later, failures: u32) {
        self.put_off(record, Some(later.problem), later.not_before, failures);
    }

    fn put_off(
        &self,
        record: RevocationRecord,
        problem: Option<RevocationProblem>,
        not_before: Option<Duration>,
        failures: u32,
    ) {
        let pause = backoff::delay(&*self.entropy, failures, not_before);
        let pending = PendingRevocation {
            problem,
            retry_at: self.clock.uptime().after(pause),
            failures,
            under_way: false,
            record,
        };
        let id = pending.record.id.clone();
        self.pending.list().insert(id, pending);
        self.pending.changed.notify_one();
    }

    async fn revoke_again(&self, pending: PendingRevocation) {
        let record = pending.record;
        // Nobody connects the account anew meanwhile: this would end that grant too.
        let _alone = self.provider_accounts.lock(&record.subject).await;
        let Some(record) = self.owed(&record.id) else {
            return;
        };
        match self.try_revoke(&record).await {
            Attempt::Done => {
                self.complete_revocation(&record, Actor::Daemon, RevocationEnding::Revoked)
                    .await;
            }
            Attempt::Never(fault) => {
                self.complete_revocation(&record, Actor::Daemon, RevocationEnding::GivenUp(fault))
                    .await;
            }
            Attempt::Later(later) => self.revoke_later(record, later, pending.failures.saturating_add(1)),
        }
    }

    /// Tries revocations again as they come due, until `shutdown`.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                due = self.next_revocation() => {
                    self.pending.begin(&due.record.id);
                    let revoking = self.clone();
                    // One that hangs holds nobody up.
                    self.single_flight.spawn(async move { revoking.revoke_again(due).await });
                }
            }
        }
    }

    async fn next_revocation(&self) -> PendingRevocation {
        loop {
            match self.pending.earliest() {
                Some(next) if next.retry_at <= self.clock.uptime() => return next,
                Some(next) => tokio::select! {
                    () = self.clock.sleep_until(next.retry_at) => {}
                    () = self.pending.changed.notified() => {}
                },
                None => self.pending.changed.notified().await,
            }
        }
    }
}

impl Successors for Revocations {
    fn owe_successor<'a>(
        &'a self,
        id: &'a IntegrationId,
        successor: &'a RefreshToken,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(self.replace_secret(id, successor))
    }
}
