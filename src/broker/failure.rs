//! What a failed renewal means: for the grant, for its tokens, and for when to try again.

use std::time::Duration;

use super::{
    Broker, EventKind, TokenKey, World, backoff,
    renewal::{Failure, Refused, Renewed},
    slots::{Cause, Trouble},
};
use crate::{
    clock,
    google::{FailureKind, ProviderError, testing_mode_hint},
    id::IntegrationId,
    store::{Grant, Health, RenewalOutcome, StoreError},
    telemetry::audit::Decision,
};

impl Broker {
    /// Records a failure and does what follows from it.
    pub(super) async fn failed(&self, key: &TokenKey, grant: Option<&Grant>, failure: Failure) -> Renewed {
        let refused = match failure {
            Failure::Gone => return Err(Refused::gone()),
            Failure::Local(cause, message) => {
                if let Some(grant) = grant {
                    self.nothing_was_sent(&key.integration, grant).await;
                }
                Refused::operator(cause, message)
            }
            Failure::Provider(error) => {
                let message = self.explain(&key.integration, &error, grant);
                if let Some(grant) = grant {
                    self.record_failure(&key.integration, grant, &error, &message)
                        .await;
                }
                Refused {
                    kind: error.kind,
                    cause: match error.kind {
                        FailureKind::Retry => Cause::Provider,
                        _ => Cause::Other,
                    },
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
            return Err(refused);
        }
        // Who asked hears when it is tried next, whatever the provider asked for.
        let retry_after = self.back_off(key, &refused, false);
        Err(Refused {
            retry_after,
            ..refused
        })
    }

    /// The sentence that every surface shows, with what this broker alone knows about the grant.
    fn explain(&self, id: &IntegrationId, error: &ProviderError, grant: Option<&Grant>) -> String {
        let mut message = error.message.clone();
        let (FailureKind::Reconnect, Some(grant)) = (error.kind, grant) else {
            return message;
        };
        if let Some(cut) = &grant.renewal {
            let begun = clock::rfc3339(cut.started_at);
            message = format!(
                "{message} A renewal begun at {begun} was cut off before its answer was stored, by a crash or a lost \
                 connection: if the provider had rotated the grant by then, that cost it."
            );
            return message;
        }
        let connected_at = self.world().accounts.get(id).map(|a| a.record.connected_at);
        if let Some(hint) = connected_at.and_then(|at| testing_mode_hint(at, self.now())) {
            message.push(' ');
            message.push_str(hint);
        }
        message
    }

    /// Commits what a failure means for the grant. Where no answer came at all, the intent stays: the provider
    /// may have rotated the grant, and only an answer about the grant tells.
    async fn record_failure(&self, id: &IntegrationId, grant: &Grant, error: &ProviderError, message: &str) {
        let health = match error.kind {
            FailureKind::Reconnect => Health::ReconnectRequired(message.to_owned()),
            _ if error.is_unanswered() || grant.renewal.is_some() => return,
            _ => Health::Active,
        };
        self.finish_without_token(id, grant, health).await;
    }

    /// Takes the intent back of a renewal that never reached the provider; an earlier one stays.
    async fn nothing_was_sent(&self, id: &IntegrationId, grant: &Grant) {
        if grant.renewal.is_none() {
            self.finish_without_token(id, grant, grant.health.clone()).await;
        }
    }

    async fn finish_without_token(&self, id: &IntegrationId, grant: &Grant, health: Health) {
        let outcome = RenewalOutcome {
            rotated: None,
            health,
            grant_expires_at: None,
            renewed_at: None,
            token: None,
        };
        match self.store.finish_renewal(id, grant.version, outcome).await {
            Ok(version) => self.note_version(id, version),
            Err(StoreError::Conflict) => {}
            Err(error) => tracing::error!(integration = %id, %error, "a failure could not be stored"),
        }
    }

    /// The version that an account was committed as. Versions only grow.
    pub(super) fn note_version(&self, id: &IntegrationId, version: u64) {
        if let Some(account) = self.world().accounts.get_mut(id) {
            account.record.version = account.record.version.max(version);
        }
    }

    /// The grant is dead: its tokens leave every agent at once. One that was withdrawn meanwhile stays so.
    fn withdraw(&self, id: &IntegrationId, message: &str) {
        let mut world = self.world();
        if world
            .accounts
            .get(id)
            .is_none_or(|account| account.record.health != Health::Active)
        {
            return;
        }
        let health = Health::ReconnectRequired(message.to_owned());
        self.change_health(&mut world, id, health.clone());
        drop(world);
        self.tell_health(id, &health);
    }

    /// Takes an account's tokens from every agent; they are told how it stands from now on.
    pub(super) fn change_health(&self, world: &mut World, id: &IntegrationId, health: Health) {
        let Some(account) = world.accounts.get_mut(id) else {
            return;
        };
        account.record.health = health;
        let owner = account.record.owner.clone();
        self.forget_tokens(world, id);
        let agents = world.agents_of(&owner);
        self.republish(world, agents);
    }

    /// Takes an account's tokens out of cache and queues.
    pub(super) fn forget_tokens(&self, world: &mut World, id: &IntegrationId) {
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

    /// Keeps the token that still lives, and tries again later. How long until then; `None` when the account is gone.
    /// `under_way` is a renewal that does not end by this.
    pub(super) fn back_off(&self, key: &TokenKey, refused: &Refused, under_way: bool) -> Option<Duration> {
        let now = self.uptime();
        let mut world = self.world();
        if !world.accounts.contains_key(&key.integration) {
            return None;
        }
        let slot = world.slots.make(key);
        let before = slot.trouble.as_deref();
        let mut failures = before.map_or(0, |trouble| trouble.failures);
        // Who asked in between changes nothing about the pace, unless the provider named another.
        let planned = before
            .map(|trouble| trouble.retry_at)
            .filter(|at| now < *at && refused.retry_after.is_none());
        let retry_at = planned.unwrap_or_else(|| {
            failures = failures.saturating_add(1);
            let left = slot.token.as_ref().and_then(|token| token.remaining(now));
            now.after(backoff::delay_within(
                &*self.entropy,
                failures,
                refused.retry_after,
                left,
            ))
        });
        slot.trouble = Some(Box::new(Trouble {
            kind: refused.kind,
            cause: refused.cause,
            message: refused.message.clone(),
            failures,
            retry_at,
            hastened_at: before.and_then(|trouble| trouble.hastened_at),
            under_way,
        }));
        self.recovery.note(refused.cause);
        let users = slot.users.clone();
        if users.is_empty() {
            // Asked for once and refused: the next who asks tries again, after the pause. It is remembered a
            // while longer, so that whoever keeps asking waits longer each time.
            self.expiries.schedule(key, retry_at.after(backoff::CAP));
        } else {
            self.renewals.schedule(key, retry_at);
        }
        self.republish(&mut world, users);
        Some(retry_at.since(now))
    }

    /// A renewal that ended without saying when to try again: it is tried again all the same.
    pub(super) fn settle(&self, key: &TokenKey, refused: impl FnOnce() -> Refused) {
        let waits = {
            let world = self.world();
            let used = world.slots.get(key).is_some_and(|slot| !slot.users.is_empty());
            used && self.renewals.due_at(key).is_none()
        };
        if waits {
            self.back_off(key, &refused(), false);
        }
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
