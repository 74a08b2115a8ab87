//! What a failed renewal means: for the grant, for its tokens, and for when to try again.

use crate::{
    cause::{GrantCause, GrantRefusal},
    id::IntegrationId,
    policy::fault_sentences,
    provider::{ProviderError, Remedy},
    registry::{
        events::EventKind,
        keys::TokenKey,
        renewal_fault::{AccountFault, RenewalFault},
        tokens::Cause,
    },
    renewal::{
        outcome::{Failure, Refused, Renewed},
        renewer::Renewer,
    },
    store::{Grant, Health, RenewalOutcome, StoreError},
    telemetry::audit::Decision,
};

impl Renewer {
    /// Records a failure and does what follows from it.
    pub(crate) async fn failed(&self, key: &TokenKey, grant: Option<&Grant>, failure: Failure) -> Renewed {
        let refused = match failure {
            Failure::Gone => return Err(Refused::gone()),
            Failure::Local(cause, fault) => {
                if let Some(grant) = grant {
                    self.nothing_was_sent(&key.integration, grant).await;
                }
                Refused::operator(cause, fault)
            }
            Failure::Provider(error) if error.kind == Remedy::Reconnect => {
                return Err(self.grant_ended(key, grant, error).await);
            }
            Failure::Provider(error) => {
                if let Some(grant) = grant {
                    self.record_failure(&key.integration, grant, &error).await;
                }
                Refused {
                    kind: error.kind,
                    cause: match error.kind {
                        Remedy::Retry => Cause::Provider,
                        _ => Cause::Other,
                    },
                    retry_after: error.retry_after,
                    fault: RenewalFault::Provider(error.into()),
                }
            }
            Failure::Replaced(error) => Refused {
                kind: Remedy::Retry,
                cause: Cause::Provider,
                retry_after: error.retry_after,
                fault: RenewalFault::GrantReplaced(error.into()),
            },
        };
        self.tell_failure(key, &refused);
        // Who asked hears when it is tried next, whatever the provider asked for.
        let retry_after = self.recovery.back_off(key, &refused, false);
        Err(Refused {
            retry_after,
            ..refused
        })
    }

    /// The provider no longer accepts the grant: that is kept with it, and its tokens leave every agent.
    async fn grant_ended(&self, key: &TokenKey, grant: Option<&Grant>, error: ProviderError) -> Refused {
        let id = &key.integration;
        let account = self.recorded(id);
        let why = GrantCause::Refused(GrantRefusal {
            cause: *error.cause,
            refused_at: self.clock.now(),
            connected_at: account
                .as_ref()
                .filter(|_| grant.is_some())
                .map(|account| account.connected_at),
            cut_off: grant.and_then(|grant| Some(grant.renewal.as_ref()?.started_at)),
        });
        if let Some(grant) = grant {
            let health = Health::ReconnectRequired(Box::new(why.clone()));
            self.finish_without_token(id, grant, health).await;
        }
        let provider = account.map(|account| account.provider);
        let fault = AccountFault::Grant {
            cause: Box::new(why.clone()),
            provider: provider.unwrap_or_else(|| self.context.providers.first().id().clone()),
        };
        let refused = Refused {
            kind: Remedy::Reconnect,
            cause: Cause::Other,
            fault: RenewalFault::Account(fault),
            retry_after: error.retry_after,
        };
        self.tell_failure(key, &refused);
        self.publisher.withdraw(id, why);
        refused
    }

    /// Tells whoever reads the log, the trail, the events and the metrics.
    fn tell_failure(&self, key: &TokenKey, refused: &Refused) {
        let message = fault_sentences::renewal(&self.context, &refused.fault);
        self.metrics.renewal(outcome_label(refused.kind));
        tracing::warn!(integration = %key.integration, kind = ?refused.kind, message, "renewal failed");
        self.note_renewal(key, Decision::Failed, EventKind::RenewalFailed, None, message);
    }

    /// Commits what a failure means for the grant. Where no answer came at all, the intent stays: the provider
    /// may have rotated the grant, and only an answer about the grant tells.
    async fn record_failure(&self, id: &IntegrationId, grant: &Grant, error: &ProviderError) {
        if !error.is_unanswered() && grant.renewal.is_none() {
            self.finish_without_token(id, grant, Health::Active).await;
        }
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
            Ok(version) => self.publisher.note_version(id, version),
            Err(StoreError::Conflict) => {}
            Err(error) => tracing::error!(integration = %id, %error, "a failure could not be stored"),
        }
    }
}

fn outcome_label(kind: Remedy) -> &'static str {
    match kind {
        Remedy::Retry => "retry",
        Remedy::Reconnect => "reconnect",
        Remedy::Operator => "operator",
        Remedy::Permission => "permission",
    }
}
