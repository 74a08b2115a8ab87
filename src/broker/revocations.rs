//! Grants that were let go of here and that the provider has not yet been told of: tried again until it is done.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Broker, backoff};
use crate::{
    clock::Uptime,
    google::{FailureKind, ProviderError},
    id::IntegrationId,
    secret::RefreshToken,
    store::RevocationRecord,
    telemetry::audit::{Actor, AuditEvent, Concern, Decision},
    vault::Binding,
};

/// A revocation that is still to be done.
#[derive(Clone)]
pub struct PendingRevocation {
    /// The grant.
    pub record: RevocationRecord,
    /// Why it was not done so far; empty before the first attempt after a restart.
    pub problem: String,
    /// When it is tried next.
    pub retry_at: Uptime,
    failures: u32,
}

/// All of them.
#[derive(Default)]
pub(super) struct Revocations {
    pending: Mutex<BTreeMap<IntegrationId, PendingRevocation>>,
    changed: Notify,
}

impl Revocations {
    fn pending(&self) -> MutexGuard<'_, BTreeMap<IntegrationId, PendingRevocation>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn earliest(&self) -> Option<PendingRevocation> {
        let pending = self.pending();
        pending.values().min_by_key(|pending| pending.retry_at).cloned()
    }

    /// Takes out those of an account.
    fn take_those_of(&self, subject: &str, authority: &str) -> Vec<RevocationRecord> {
        let mut pending = self.pending();
        let mut taken = Vec::new();
        pending.retain(|_, PendingRevocation { record, .. }| {
            let other = record.subject != subject || *record.authority != *authority;
            if !other {
                taken.push(record.clone());
            }
            other
        });
        taken
    }
}

/// How an attempt ended.
pub(super) enum Attempt {
    /// The provider has no such grant any more.
    Done,
    /// It is worth trying again, not before what the provider asked for. The sentence says why it did not work.
    Later(String, Option<Duration>),
    /// It cannot be done from here. The sentence says why.
    Never(String),
}

impl Broker {
    /// The revocations that are still to be done, by id.
    pub fn pending_revocations(&self) -> Vec<PendingRevocation> {
        self.revocations.pending().values().cloned().collect()
    }

    /// Asks the provider to end a grant.
    pub(super) async fn try_revoke(&self, record: &RevocationRecord) -> Attempt {
        if record.authority != self.around.authority {
            return Attempt::Never(format!("it belongs to {}", record.authority));
        }
        let opened = self
            .vault
            .open(&Binding::RefreshToken(&record.id), &record.secret);
        let plain = match opened {
            Ok(plain) => plain,
            Err(error) => return Attempt::Never(error.to_string()),
        };
        let Ok(token) = std::str::from_utf8(&plain).map(RefreshToken::from) else {
            return Attempt::Never("the grant is not text".to_owned());
        };
        if token.expose().is_empty() {
            // It was deleted when the provider announced its end.
            return Attempt::Done;
        }
        match self.provider.revoke(&token).await {
            Ok(()) => Attempt::Done,
            Err(ProviderError {
                kind: FailureKind::Retry,
                message,
                retry_after,
                ..
            }) => Attempt::Later(message, retry_after),
            Err(error) => Attempt::Never(error.message),
        }
    }

    /// The account was connected again: revoking its old grant would end the new one with it. Accounts are being
    /// kept meanwhile.
    pub(super) async fn give_up_revocations(&self, subject: &str) {
        for record in self.revocations.take_those_of(subject, &self.around.authority) {
            self.settle_revocation(
                &record,
                Decision::Denied,
                "given up: the account was connected again",
            )
            .await;
        }
    }

    /// A revocation is done, or given up: nothing is owed any more.
    pub(super) async fn forget_revocation(&self, record: &RevocationRecord) {
        self.revocations.pending().remove(&record.id);
        if let Err(error) = self.store.settle_revocation(&record.id).await {
            // It is tried once more after a restart, and found done.
            tracing::error!(integration = %record.id, %error, "a revocation that is over could not be deleted");
        }
    }

    /// The same, for one that was tried again: the audit trail says how it ended.
    async fn settle_revocation(&self, record: &RevocationRecord, decision: Decision, how: &str) {
        self.forget_revocation(record).await;
        let detail = format!("{} of {}: {how}", record.account, record.owner);
        tracing::info!(integration = %record.id, detail, "revocation settled");
        self.recorder.record(AuditEvent {
            time: self.now(),
            actor: Actor::Daemon,
            action: "integration.revocation",
            integration: Some(record.id.clone()),
            capabilities: Vec::new(),
            decision,
            detail,
            concern: Concern::owner(&record.owner),
        });
    }

    /// Tries it again later, more rarely each time.
    pub(super) fn revoke_later(
        &self,
        record: RevocationRecord,
        problem: String,
        failures: u32,
        retry_after: Option<Duration>,
    ) {
        let pause = backoff::delay(&*self.entropy, failures, retry_after);
        let pending = PendingRevocation {
            problem,
            retry_at: self.uptime().after(pause),
            failures,
            record,
        };
        self.revocations
            .pending()
            .insert(pending.record.id.clone(), pending);
        self.revocations.changed.notify_one();
    }

    async fn revoke_again(&self, pending: PendingRevocation) {
        // Nobody connects the account anew meanwhile: this would end that grant too.
        let _keeping = self.keeping_accounts().await;
        let record = pending.record;
        if !self.revocations.pending().contains_key(&record.id) {
            return;
        }
        match self.try_revoke(&record).await {
            Attempt::Done => {
                self.settle_revocation(&record, Decision::Allowed, "revoked at the provider")
                    .await;
            }
            Attempt::Never(reason) => {
                let how = format!("given up ({reason}): the owner can remove it at the provider");
                self.settle_revocation(&record, Decision::Failed, &how).await;
            }
            Attempt::Later(problem, retry_after) => {
                self.revoke_later(record, problem, pending.failures.saturating_add(1), retry_after);
            }
        }
    }

    async fn next_revocation(&self) -> PendingRevocation {
        loop {
            match self.revocations.earliest() {
                Some(next) if next.retry_at <= self.uptime() => return next,
                Some(next) => tokio::select! {
                    () = self.clock.sleep_until(next.retry_at) => {}
                    () = self.revocations.changed.notified() => {}
                },
                None => self.revocations.changed.notified().await,
            }
        }
    }
}

/// Tries revocations again as they come due, until `shutdown`.
pub(super) async fn run(broker: Arc<Broker>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            due = broker.next_revocation() => broker.revoke_again(due).await,
        }
    }
}
