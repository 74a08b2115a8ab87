//! A grant that nothing keeps yet, because it is not known whose it is: it is asked with until somebody says so.

use std::{sync::Arc, time::Duration};

use crate::{
    accounts::tables::AccountTables,
    capability::ScopeSet,
    cause::UnusableAnswer,
    clock::Uptime,
    dpop::ProofKey,
    entropy::SharedEntropy,
    id::ProviderId,
    policy::context::PolicyContext,
    provider::{ConsentProvider, Identity, NoToken, Provider, ProviderError, Remedy, TokenAnswer},
    registry::time::BrokerClock,
    renewal::{
        backoff, once_more::is_worth_a_try, parts::Renewing, recovery::Recovery, rotation::Rotations,
        services::Services,
    },
    revocation::provider_accounts::ProviderAccounts,
    secret::RefreshToken,
    telemetry::Metrics,
};

/// How often a provider is asked with a grant that would be lost otherwise.
const TRIES: u32 = 3;

/// A grant before it is kept.
pub(crate) struct FirstGrant {
    pub(crate) token: RefreshToken,
    /// What it is bound to, where it is.
    pub(crate) proof_key: Option<Arc<ProofKey>>,
    pub(crate) expires_in: Option<Duration>,
    /// Nobody else has it: it came with an answer.
    pub(crate) only_here: bool,
    /// Before it was asked for, or asked with for the first time.
    pub(crate) since: Uptime,
}

impl FirstGrant {
    /// A grant that somebody else holds as well. It is bound to no key.
    pub(crate) fn held_elsewhere(token: RefreshToken, since: Uptime) -> Self {
        Self {
            token,
            proof_key: None,
            expires_in: None,
            only_here: false,
            since,
        }
    }

    /// Takes over what an answer says of it.
    fn learn(&mut self, token: Option<RefreshToken>, expires_in: Option<Duration>) {
        if let Some(token) = token {
            self.token = token;
            self.only_here = true;
        }
        self.expires_in = expires_in.or(self.expires_in);
    }
}

/// Uses a grant that nobody has committed yet for the first time, and finds out whose it is.
pub(crate) struct FirstUse {
    pub(crate) clock: Arc<BrokerClock>,
    pub(crate) entropy: SharedEntropy,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) context: Arc<PolicyContext>,
    pub(crate) provider_accounts: Arc<ProviderAccounts>,
    pub(crate) rotations: Arc<Rotations>,
    pub(crate) recovery: Arc<Recovery>,
}

impl FirstUse {
    /// With what it needs of the parts before it.
    pub(crate) fn new(services: &Services, tables: &AccountTables, renewing: &Renewing) -> Arc<Self> {
        Arc::new(Self {
            clock: services.clock.clone(),
            entropy: services.entropy.clone(),
            metrics: services.metrics.clone(),
            context: services.context.clone(),
            provider_accounts: tables.provider_accounts.clone(),
            rotations: services.rotations.clone(),
            recovery: renewing.recovery.clone(),
        })
    }

    /// Asks for a token with all that the grant holds. Each answer may replace the grant, also one that cannot be used
    /// otherwise; where nobody else has the grant, or the provider is busy, it is asked again before the grant is given up.
    pub(crate) async fn first_answer(
        &self,
        provider: &ProviderId,
        grant: &mut FirstGrant,
    ) -> Result<TokenAnswer, ProviderError> {
        let consents = self.context.providers.get(provider).and_then(Provider::consent);
        let Some(consents) = consents else {
            let provider = provider.to_string();
            return Err(ProviderError::unusable(UnusableAnswer::NoProvider { provider }));
        };
        // Without a scope the answer tells all that the grant holds.
        let everything = ScopeSet::default();
        let mut tries = 1;
        loop {
            let asked = std::time::Instant::now();
            let answer = self
                .recovery
                .proven(provider, grant.proof_key.as_deref(), |proven| {
                    consents.refresh(&grant.token, &everything, proven)
                })
                .await;
            self.metrics.provider_request("refresh", asked.elapsed());
            self.rotations.learn_from(provider, &answer);
            let (error, is_new) = match answer {
                Ok(mut answer) => {
                    self.recovery.note_accepted(provider, answer.server_time);
                    grant.learn(answer.refresh_token.take(), answer.refresh_token_expires_in);
                    return Ok(answer);
                }
                Err(NoToken {
                    error,
                    refresh_token,
                    refresh_token_expires_in,
                }) => {
                    let is_new = refresh_token.is_some();
                    grant.learn(refresh_token, refresh_token_expires_in);
                    (error, is_new)
                }
            };
            let may_pass = is_new || error.kind == Remedy::Retry;
            let most = match grant.only_here {
                true => TRIES,
                false if is_worth_a_try(&error) => 2,
                false => 1,
            };
            if !may_pass || tries >= most {
                return Err(*error);
            }
            tracing::warn!(%error, tries, "a grant is tried again before it is kept");
            let pause = backoff::delay(&*self.entropy, tries, None);
            self.clock.sleep_until(self.clock.uptime().after(pause)).await;
            tries += 1;
        }
    }

    /// False when the grant ended with an older one of the same account, which was revoked after it was asked for. The
    /// caller deals with the account alone.
    pub(crate) async fn survived(
        &self,
        provider: &ProviderId,
        grant: &mut FirstGrant,
        subject: &str,
    ) -> bool {
        if !self.provider_accounts.may_be_revoked(subject, grant.since) {
            return true;
        }
        // Where the provider does not say, it is kept: it may be the only one.
        let answer = self.first_answer(provider, grant).await;
        answer.err().is_none_or(|error| error.kind != Remedy::Reconnect)
    }

    /// Whose a grant at this provider is: as the answer's id token says, or else its access token. The nonce is that of
    /// the consent that the answer belongs to, if it does.
    pub(crate) async fn whose(
        &self,
        (id, provider): (&ProviderId, &dyn ConsentProvider),
        answer: &TokenAnswer,
        nonce: Option<&str>,
    ) -> Result<Identity, ProviderError> {
        match &answer.id_token {
            Some(id_token) => {
                let run_by = self.context.providers.name_of(id);
                let now = self.clock.provider_now(&run_by);
                let identified = self
                    .recovery
                    .once_more(|| provider.identify(id_token, nonce, now))
                    .await;
                // The provider's `Date` may be any proxy's: a token that is good by either clock is good.
                match self.clock.if_differing(&run_by).filter(|_| identified.is_err()) {
                    Some(now) => provider.identify(id_token, nonce, now).await,
                    None => identified,
                }
            }
            None => {
                self.recovery
                    .once_more(|| provider.userinfo(&answer.access_token))
                    .await
            }
        }
    }
}
