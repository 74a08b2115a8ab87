//! A person connects an account: the consent begun. How it ends is in `connect_end`.

use std::sync::Arc;

use crate::{
    accounts::{
        checks::AccountChecks,
        commit_grant::Grants,
        connect_error::{ConnectError, Ungrantable},
        connect_target::{ConnectTarget, Targets},
        connected::ConnectStarted,
        consents::{Consents, Pending},
        first_use::FirstUse,
        grant_request::GrantRequest,
        list::AccountList,
        tables::AccountTables,
    },
    capability::{Capability, ScopeSet},
    entropy::{Entropy, SharedEntropy},
    id::{CapabilityKey, ProviderId},
    policy::context::PolicyContext,
    provider::{Consent, ConsentProvider, ConsentRequest, Provider, ProviderError},
    registry::{keys::TokenKey, time::BrokerClock},
    renewal::{
        options::BrokerOptions, outcome::Renewed, parts::Renewing, publisher::Publisher, recovery::Recovery,
        services::Services, single_flight::SingleFlight,
    },
    session::SessionId,
    store::IntegrationRecord,
    text,
};

/// Connects accounts: consent begun, redirect received, code exchanged, grant committed.
pub struct Connect {
    pub(super) clock: Arc<BrokerClock>,
    pub(super) consents: Arc<Consents>,
    pub(super) context: Arc<PolicyContext>,
    entropy: SharedEntropy,
    pub(super) single_flight: Arc<SingleFlight<TokenKey, Renewed>>,
    options: Arc<BrokerOptions>,
    account_checks: Arc<AccountChecks>,
    pub(super) account_list: Arc<AccountList>,
    pub(super) first_use: Arc<FirstUse>,
    pub(super) grants: Arc<Grants>,
    publisher: Arc<Publisher>,
    pub(super) recovery: Arc<Recovery>,
    targets: Arc<Targets>,
}

impl Connect {
    /// With what it needs of the parts before it.
    pub(crate) fn new(
        services: &Services,
        tables: &AccountTables,
        renewing: &Renewing,
        account_checks: &Arc<AccountChecks>,
        account_list: &Arc<AccountList>,
        first_use: &Arc<FirstUse>,
        grants: &Arc<Grants>,
    ) -> Arc<Self> {
        Arc::new(Self {
            clock: services.clock.clone(),
            consents: tables.consents.clone(),
            context: services.context.clone(),
            entropy: services.entropy.clone(),
            single_flight: services.single_flight.clone(),
            options: services.options.clone(),
            account_checks: account_checks.clone(),
            account_list: account_list.clone(),
            first_use: first_use.clone(),
            grants: grants.clone(),
            publisher: renewing.publisher.clone(),
            recovery: renewing.recovery.clone(),
            targets: grants.targets.clone(),
        })
    }

    /// Begins a consent. On a connected account it adds permissions: it asks for what is new, and what was
    /// granted before is kept.
    pub async fn begin_connect(
        &self,
        target: &ConnectTarget,
        capabilities: &[String],
        return_url: Option<&str>,
    ) -> Result<ConnectStarted, ConnectError> {
        let return_url = return_url.map(|url| self.allowed_return(url)).transpose()?;
        self.begin(target, capabilities, return_url, None).await
    }

    /// Like [`Broker::begin_connect`], for a person in the console: only their session can finish it.
    pub async fn begin_connect_in(
        &self,
        session: SessionId,
        target: &ConnectTarget,
        capabilities: &[String],
    ) -> Result<ConnectStarted, ConnectError> {
        self.begin(target, capabilities, None, Some(session)).await
    }

    async fn begin(
        &self,
        target: &ConnectTarget,
        capabilities: &[String],
        return_url: Option<String>,
        session: Option<SessionId>,
    ) -> Result<ConnectStarted, ConnectError> {
        let (provider, mut capabilities) = self.grantable(capabilities)?;
        let aim = self.targets.aim(target, provider)?;
        self.account_checks
            .count_request(&aim.owner)
            .map_err(|_| ConnectError::TooMany)?;
        let place = self.consents.place(self.clock.uptime(), &aim.owner)?;
        let asked = self.to_ask_for(provider.id(), &mut capabilities, aim.existing.as_ref())?;
        let granted = aim.existing.as_ref().map(|record| &record.scopes);
        let request = ConsentRequest {
            scopes: &asked,
            granted,
            login_hint: aim.login_hint(),
        };
        let Consent {
            authorization_url,
            state,
            nonce,
            verifier,
            proof_key,
            cumulative,
        } = self
            .consents_of(provider.id())?
            .consent(&request)
            .await
            .map_err(|error| self.failed(provider.id(), error))?;
        let now = self.clock.moment();
        let pending = Pending {
            connect_id: new_connect_id(&*self.entropy),
            grant_request: GrantRequest {
                assumed: granted.map_or_else(|| asked.clone(), |granted| granted.union(&asked)),
                owner: aim.owner,
                provider: provider.id().clone(),
                expected: aim.expected,
                cumulative,
                capabilities,
            },
            return_url,
            session,
            nonce,
            verifier,
            proof_key: proof_key.map(Arc::new),
            expires_at: now.uptime.after(self.options.consent_timeout),
            _place: place,
        };
        let started = ConnectStarted {
            provider: provider.id().clone(),
            authorization_url,
            connect_id: pending.connect_id.clone(),
            expires_at: now.wall_at(pending.expires_at),
            agents_in_doubt: aim.agents_in_doubt,
        };
        self.consents.begin(&state, pending).map(|()| started)
    }

    /// The scopes to ask for: those that the account has not granted. A grant that works no more is asked for
    /// again as a whole, because the provider may have forgotten it; its capabilities are added to the list.
    fn to_ask_for(
        &self,
        provider: &ProviderId,
        capabilities: &mut Vec<CapabilityKey>,
        existing: Option<&IntegrationRecord>,
    ) -> Result<ScopeSet, ConnectError> {
        if let Some(record) = existing.filter(|record| !self.publisher.works(record)) {
            let granted = |capability: &&Capability| {
                capability.integration == *provider && capability.scopes.is_subset(&record.scopes)
            };
            for capability in self.context.catalog.iter().filter(granted) {
                if !capabilities.contains(&capability.key) {
                    capabilities.push(capability.key.clone());
                }
            }
        }
        let scopes = self
            .context
            .catalog
            .scopes_for(&*capabilities)
            .map_err(Ungrantable::from)?;
        let new = existing
            .filter(|record| self.publisher.works(record))
            .map(|record| scopes.without(&record.scopes));
        // Who asks for nothing new wants the consent itself again.
        Ok(new.filter(|new| !new.is_empty()).unwrap_or(scopes))
    }

    /// The capabilities of these names, and the provider that all of them are asked of.
    fn grantable(&self, names: &[String]) -> Result<(&Provider, Vec<CapabilityKey>), ConnectError> {
        let mut asked: Vec<(&ProviderId, Vec<CapabilityKey>)> = Vec::new();
        for name in names {
            let capability = self.grantable_one(name)?;
            let (of, key) = (&capability.integration, capability.key.clone());
            match asked.iter_mut().find(|(provider, _)| *provider == of) {
                Some((_, keys)) => keys.push(key),
                None => asked.push((of, vec![key])),
            }
        }
        let several = asked.len() > 1;
        match asked.pop() {
            None => Err(ConnectError::NoCapability),
            Some(last) if several => {
                let all = asked.into_iter().chain([last]);
                let all = all.map(|(provider, keys)| (provider.clone(), keys));
                Err(ConnectError::SeveralProviders(all.collect()))
            }
            Some((provider, keys)) => {
                let provider = self.context.providers.get(provider);
                Ok((provider.unwrap_or(self.context.providers.first()), keys))
            }
        }
    }

    /// The capability of this name, which a person can grant.
    fn grantable_one(&self, name: &str) -> Result<&Capability, Ungrantable> {
        let catalog = &self.context.catalog;
        let key = name.parse::<CapabilityKey>().ok();
        match key.and_then(|key| catalog.get(&key)) {
            Some(capability) if self.context.is_consented(&capability.integration) => Ok(capability),
            Some(capability) => Err(Ungrantable::OfServiceAccount(capability.key.clone())),
            None => Err(Ungrantable::Unknown {
                name: text::quoted(name, 80),
                suggestion: catalog.suggest(name).cloned(),
            }),
        }
    }

    /// Whom consents of this provider are asked of.
    pub(super) fn consents_of(
        &self,
        provider: &ProviderId,
    ) -> Result<&Arc<dyn ConsentProvider>, ConnectError> {
        let provider = self.context.providers.get(provider).and_then(Provider::consent);
        provider.ok_or_else(|| Ungrantable::ByNobody.into())
    }

    /// This provider's failure, as the end of a consent.
    pub(super) fn failed(&self, provider: &ProviderId, error: ProviderError) -> ConnectError {
        ConnectError::Provider(error, self.context.profile_of(provider))
    }

    /// A URL that people may be sent to: the configuration lists its origin.
    pub fn allowed_return(&self, url: &str) -> Result<String, ConnectError> {
        let origin = url::Url::parse(url).ok().map(|url| url.origin());
        match origin {
            Some(origin) if self.options.return_origins.contains(&origin) => Ok(url.to_owned()),
            _ => Err(ConnectError::ReturnUrl(text::quoted(url, 200))),
        }
    }
}

fn new_connect_id(entropy: &dyn Entropy) -> String {
    format!("con_{}", &entropy.token()[..22])
}
