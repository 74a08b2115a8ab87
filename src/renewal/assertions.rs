//! Service accounts' keys: a signed assertion is exchanged for a token (RFC 7523).

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    capability::ScopeSet,
    id::ProviderId,
    policy::context::PolicyContext,
    provider::{AccountKey, AssertionProvider, AssertionRequest, ProviderError, TokenAnswer},
    registry::{
        renewal_fault::{KeyFault, RenewalFault, SecretFault},
        time::BrokerClock,
        tokens::Cause,
    },
    renewal::{outcome::Failure, recovery::Recovery, services::Services},
    store::IntegrationRecord,
    telemetry::Metrics,
    vault::{Binding, Sealed, Vault},
};

/// Obtains tokens with the keys of service accounts.
pub(crate) struct Assertions {
    pub(crate) clock: Arc<BrokerClock>,
    pub(crate) context: Arc<PolicyContext>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) recovery: Arc<Recovery>,
}

impl Assertions {
    /// With what it needs of the parts before it.
    pub(crate) fn new(services: &Services, recovery: &Arc<Recovery>) -> Arc<Self> {
        Arc::new(Self {
            clock: services.clock.clone(),
            context: services.context.clone(),
            metrics: services.metrics.clone(),
            vault: services.vault.clone(),
            recovery: recovery.clone(),
        })
    }

    /// Asks for a token with a service account's key. An assertion says what time it is, so one that was refused is made
    /// once more by each other time that it may be there.
    pub(crate) async fn assert(
        &self,
        provider: (&ProviderId, &dyn AssertionProvider),
        key: &AccountKey,
        subject: &str,
        scopes: &ScopeSet,
    ) -> Result<TokenAnswer, ProviderError> {
        let run_by = self.context.providers.name_of(provider.0);
        let believed = self.clock.believed(&run_by);
        let mut refused = match self
            .assert_at(believed.wall, provider, key, subject, scopes)
            .await
        {
            Err(error) if is_refused_assertion(&error) => error,
            answer => return answer,
        };
        let heard = refused.server_time.as_ref().map(|heard| **heard);
        for time in self.clock.other_times(&run_by, heard, believed) {
            let now = time.wall_at(self.clock.uptime());
            refused = match self.assert_at(now, provider, key, subject, scopes).await {
                Err(error) if is_refused_assertion(&error) => error,
                answer => return answer,
            };
        }
        Err(refused)
    }

    /// Asks once, with an assertion that says that it is `now`. What an accepted answer says of the time is learned.
    async fn assert_at(
        &self,
        now: Timestamp,
        (id, provider): (&ProviderId, &dyn AssertionProvider),
        key: &AccountKey,
        subject: &str,
        scopes: &ScopeSet,
    ) -> Result<TokenAnswer, ProviderError> {
        let request = AssertionRequest {
            key,
            subject: (subject != key.address).then_some(subject),
            scopes,
            now,
        };
        let asked = std::time::Instant::now();
        let answer = provider.assert(&request).await;
        self.metrics.provider_request("assertion", asked.elapsed());
        let answer = answer?;
        self.recovery.note_accepted(id, answer.server_time);
        Ok(answer)
    }

    /// Asks with the key of a record.
    pub(crate) async fn assert_with(
        &self,
        provider: &dyn AssertionProvider,
        record: &IntegrationRecord,
        secret: &Sealed,
        scopes: &ScopeSet,
    ) -> Result<TokenAnswer, Failure> {
        let key = self.open_key(provider, record, secret).map_err(|error| {
            let account = record.account.clone();
            let fault = SecretFault::Key { account, error };
            Failure::Local(Cause::Other, RenewalFault::Secret(fault))
        })?;
        let answer = self
            .assert((&record.provider, provider), &key, &record.subject, scopes)
            .await
            .map_err(Failure::Provider)?;
        Ok(TokenAnswer {
            // Whatever it may be, it does not take the key's place.
            refresh_token: None,
            ..answer
        })
    }

    fn open_key(
        &self,
        provider: &dyn AssertionProvider,
        record: &IntegrationRecord,
        secret: &Sealed,
    ) -> Result<AccountKey, KeyFault> {
        let binding = Binding::ServiceAccountKey(&record.id);
        let plain = self.vault.open(&binding, secret)?;
        let text = std::str::from_utf8(&plain)?;
        Ok(provider.read_key(text)?)
    }
}

fn is_refused_assertion(error: &ProviderError) -> bool {
    error.oauth_error() == Some("invalid_grant")
}
