//! What a failed renewal means: for the grant, for its tokens, and for when to try again.

use crate::{
    clock,
    id::IntegrationId,
    provider::{FailureKind, ProviderError},
    registry::{events::EventKind, keys::TokenKey, tokens::Cause},
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
            Failure::Replaced(error) => Refused {
                kind: FailureKind::Retry,
                cause: Cause::Provider,
                message: format!("{error} A new grant came with this answer; it is tried next."),
                retry_after: error.retry_after,
            },
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
            self.publisher.withdraw(&key.integration, &refused.message);
            return Err(refused);
        }
        // Who asked hears when it is tried next, whatever the provider asked for.
        let retry_after = self.recovery.back_off(key, &refused, false);
        Err(Refused {
            retry_after,
            ..refused
        })
    }

    /// The sentence that every surface shows, with what this broker alone knows about the grant.
    fn explain(&self, id: &IntegrationId, error: &ProviderError, grant: Option<&Grant>) -> String {
        let mut message = error.to_string();
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
        let hint = self.recorded(id).and_then(|account| {
            let provider = self.context.providers.get(&account.provider)?.consent()?;
            provider.explain_end(account.connected_at, self.clock.now())
        });
        if let Some(hint) = hint {
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
            Ok(version) => self.publisher.note_version(id, version),
            Err(StoreError::Conflict) => {}
            Err(error) => tracing::error!(integration = %id, %error, "a failure could not be stored"),
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
