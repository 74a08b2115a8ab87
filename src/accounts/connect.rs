//! A person connects an account: consent begun, redirect received, code exchanged.

use std::{fmt::Write, sync::Arc};

use crate::{
    accounts::{
        checks::AccountChecks,
        commit_grant::{Grants, Telling},
        connect_error::ConnectError,
        connect_target::{ConnectTarget, Targets},
        connected::{ConnectStarted, Connected},
        consents::{Consents, Found, Pending},
        first_use::{FirstGrant, FirstUse},
        grant_request::{GrantCommitted, GrantRequest},
        list::{AccountList, AccountView},
        tables::AccountTables,
    },
    capability::{Capability, ScopeSet},
    entropy::{Entropy, SharedEntropy},
    id::{CapabilityKey, OwnerId, ProviderId},
    policy::{
        context::{PolicyContext, list},
        select_account::AccountRef,
    },
    provider::{
        Consent, ConsentProvider, ConsentRequest, NoToken, Provider, ProviderError, TokenAnswer,
        oauth::{Redirect, redirect::Outcome},
    },
    registry::{keys::TokenKey, time::BrokerClock},
    renewal::{
        options::BrokerOptions, outcome::Renewed, parts::Renewing, publisher::Publisher, recovery::Recovery,
        services::Services, single_flight::SingleFlight,
    },
    secret::AuthorizationCode,
    session::{SessionId, Visit},
    store::IntegrationRecord,
    telemetry::audit::{Actor, Decision},
    text,
};

/// Connects accounts: consent begun, redirect received, code exchanged, grant committed.
pub struct Connect {
    clock: Arc<BrokerClock>,
    consents: Arc<Consents>,
    context: Arc<PolicyContext>,
    entropy: SharedEntropy,
    single_flight: Arc<SingleFlight<TokenKey, Renewed>>,
    options: Arc<BrokerOptions>,
    account_checks: Arc<AccountChecks>,
    account_list: Arc<AccountList>,
    first_use: Arc<FirstUse>,
    grants: Arc<Grants>,
    publisher: Arc<Publisher>,
    recovery: Arc<Recovery>,
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
        self.consents.begin(&state, pending)?;
        Ok(started)
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
            .map_err(|error| ConnectError::Capability(error.to_string()))?;
        let new = existing
            .filter(|record| self.publisher.works(record))
            .map(|record| scopes.without(&record.scopes));
        // Who asks for nothing new wants the consent itself again.
        Ok(new.filter(|new| !new.is_empty()).unwrap_or(scopes))
    }

    /// The capabilities of these names, and the provider that all of them are asked of.
    fn grantable(&self, names: &[String]) -> Result<(&Provider, Vec<CapabilityKey>), ConnectError> {
        if names.is_empty() {
            return Err(ConnectError::Capability(
                "name at least one capability: `token-broker capabilities` lists them".to_owned(),
            ));
        }
        let one = |name: &String| {
            let found = name
                .parse::<CapabilityKey>()
                .ok()
                .and_then(|key| self.context.catalog.get(&key));
            match found {
                Some(capability) if self.context.is_consented(&capability.integration) => Ok(capability),
                Some(_) => Err(ConnectError::Capability(format!(
                    "`{name}` belongs to a service account: nobody can consent to it"
                ))),
                None => {
                    let hint = self
                        .context
                        .catalog
                        .suggest(name)
                        .map(|key| format!("; did you mean `{key}`?"));
                    Err(ConnectError::Capability(format!(
                        "there is no capability `{}`{}",
                        text::quoted(name, 80),
                        hint.unwrap_or_default()
                    )))
                }
            }
        };
        let capabilities = names.iter().map(one).collect::<Result<Vec<&Capability>, _>>()?;
        let provider = &capabilities[0].integration;
        if let Some(other) = capabilities.iter().find(|one| one.integration != *provider) {
            return Err(ConnectError::Capability(format!(
                "`{}` is asked of `{provider}` and `{}` of `{}`: connect the two apart",
                capabilities[0].key, other.key, other.integration
            )));
        }
        let provider = self.context.providers.get(provider);
        let provider = provider.unwrap_or(self.context.providers.first());
        Ok((
            provider,
            capabilities.into_iter().map(|one| one.key.clone()).collect(),
        ))
    }

    /// Whom consents of this provider are asked of.
    fn consents_of(&self, provider: &ProviderId) -> Result<&Arc<dyn ConsentProvider>, ConnectError> {
        let provider = self.context.providers.get(provider).and_then(Provider::consent);
        provider.ok_or_else(|| ConnectError::Capability("nobody can consent to this".to_owned()))
    }

    /// This provider's failure, as the end of a consent.
    fn failed(&self, provider: &ProviderId, error: ProviderError) -> ConnectError {
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

    /// Finishes the consent that this redirect's query belongs to. It runs to its end even when the caller
    /// goes away.
    pub async fn complete_connect(
        self: &Arc<Self>,
        query: &str,
        actor: Option<Actor>,
    ) -> Result<Connected, ConnectError> {
        self.complete(query, actor, None).await
    }

    /// Like [`Broker::complete_connect`], for a browser. The browser that ended a consent hears of its end again when it
    /// asks once more, for some minutes.
    pub async fn complete_connect_in(
        self: &Arc<Self>,
        visit: &Visit<'_>,
        query: &str,
    ) -> Result<Connected, ConnectError> {
        self.complete(query, None, Some(visit)).await
    }

    async fn complete(
        self: &Arc<Self>,
        query: &str,
        actor: Option<Actor>,
        visit: Option<&Visit<'_>>,
    ) -> Result<Connected, ConnectError> {
        let redirect =
            Redirect::parse(query).map_err(|error| ConnectError::BadRedirect(error.to_string()))?;
        let pending = match self.consents.take(self.clock.uptime(), &redirect.state, visit)? {
            Found::Pending(pending) => pending,
            Found::Ended(mut ending) => {
                let ended = ending.wait_for(Option::is_some).await;
                return ended
                    .ok()
                    .and_then(|ended| ended.clone())
                    .unwrap_or(Err(ConnectError::UnknownState));
            }
        };
        let session = visit.and_then(|visit| visit.session);
        let begun_here = session.filter(|_| pending.session.is_some());
        let actor = actor.or(begun_here.map(|session| session.admission.actor.clone()));
        let (this, connect_id) = (self.clone(), pending.connect_id.clone());
        let work = async move {
            let actor = actor.unwrap_or_else(|| Actor::Person(pending.grant_request.owner.to_string()));
            let ending = this.finish(&pending, redirect.outcome, &actor).await;
            if matches!(
                ending,
                Err(ConnectError::Denied(..) | ConnectError::NothingGranted(_))
            ) {
                this.grants.note_declined(&pending.grant_request).await;
            }
            this.note_connect(&pending, &ending, actor);
            this.consents.end(&pending.connect_id, ending.clone());
            ending
        };
        self.single_flight.spawn(work).await.unwrap_or_else(|_| {
            let failed = Err(ConnectError::Store("the daemon failed; see its log".to_owned()));
            self.consents.end(&connect_id, failed.clone());
            failed
        })
    }

    /// Waits for the end of a consent.
    pub async fn wait_connect(&self, connect_id: &str) -> Result<Connected, ConnectError> {
        let Some((mut ending, expires_at, provider)) = self.consents.watch(connect_id) else {
            let shown = text::quoted(connect_id, 80);
            return Err(ConnectError::UnknownConnect(shown));
        };
        loop {
            let answered = self.consents.is_answered(connect_id);
            if !answered && self.clock.uptime() >= expires_at {
                return Err(ConnectError::TimedOut(self.context.profile_of(&provider)));
            }
            let patience = async {
                if answered {
                    std::future::pending::<()>().await;
                } else {
                    self.clock.sleep_until(expires_at).await;
                }
            };
            let found = tokio::select! {
                found = ending.wait_for(Option::is_some) => found.ok().and_then(|ending| ending.clone()),
                () = patience => continue,
            };
            let late = || Err(ConnectError::TimedOut(self.context.profile_of(&provider)));
            return found.unwrap_or_else(late);
        }
    }

    async fn finish(
        self: &Arc<Self>,
        pending: &Pending,
        outcome: Outcome,
        actor: &Actor,
    ) -> Result<Connected, ConnectError> {
        let code = self.code_of(pending, outcome).await?;
        let (answer, mut grant, nonce) = self.exchanged(&code, pending).await?;
        let id = &pending.grant_request.provider;
        let identity = self
            .first_use
            .whose((id, &**self.consents_of(id)?), &answer, nonce)
            .await
            .map_err(|error| self.failed(id, error))?;
        let granted = answer
            .scopes
            .clone()
            .unwrap_or_else(|| pending.grant_request.assumed.clone());
        let covered = self
            .context
            .catalog
            .covered_by(&pending.grant_request.provider, &granted);
        if covered.is_empty() {
            let at = self.context.profile_of(&pending.grant_request.provider);
            return Err(ConnectError::NothingGranted(at));
        }
        let grant_request = &pending.grant_request;
        let asked = grant_request.capabilities.iter();
        let missing: Vec<_> = asked.filter(|key| !covered.contains(key)).cloned().collect();
        let tell = |kept: &GrantCommitted| Telling {
            actor: actor.clone(),
            capabilities: grant_request.capabilities.clone(),
            detail: told_of(&grant_request.owner, kept, &missing),
        };
        let kept = self
            .grants
            .commit_grant(grant_request, identity, granted, &mut grant, tell)
            .await?;
        Ok(Connected {
            account: kept.account,
            withdrawn: kept.withdrawn,
            unasked: kept.unasked,
            owner: grant_request.owner.clone(),
            missing,
            return_url: pending.return_url.clone(),
            in_console: pending.session.is_some(),
        })
    }

    /// The code that a redirect brought, or why it brought none.
    async fn code_of(&self, pending: &Pending, outcome: Outcome) -> Result<AuthorizationCode, ConnectError> {
        let grant_request = &pending.grant_request;
        match outcome {
            Outcome::Code { code, issuer } => {
                let provider = self.consents_of(&grant_request.provider)?;
                let accepted = provider.accepts_issuer(issuer.as_deref()).await;
                accepted.map_err(|error| self.failed(&grant_request.provider, error))?;
                Ok(code)
            }
            Outcome::Error { error, .. } if error == "access_denied" => {
                let at = self.context.profile_of(&grant_request.provider);
                Err(ConnectError::Denied(grant_request.owner.clone(), at))
            }
            Outcome::Error { error, description } => {
                let provider = self.consents_of(&grant_request.provider)?;
                let refused = provider.refused_consent(&error, description.as_deref());
                Err(self.failed(&grant_request.provider, refused))
            }
        }
    }

    /// What a code is worth, and the nonce that an id token in the answer has to carry. A grant whose answer cannot be
    /// used otherwise is asked with for another answer, which belongs to no consent.
    async fn exchanged<'a>(
        &self,
        code: &AuthorizationCode,
        pending: &'a Pending,
    ) -> Result<(TokenAnswer, FirstGrant, Option<&'a str>), ConnectError> {
        let provider = self.consents_of(&pending.grant_request.provider)?;
        let since = self.clock.uptime();
        let grant = |token, expires_in| FirstGrant {
            token,
            expires_in,
            only_here: true,
            since,
        };
        match self
            .recovery
            .once_more(|| provider.exchange(code, &pending.verifier))
            .await
        {
            Ok(mut answer) => {
                self.recovery
                    .note_accepted(&pending.grant_request.provider, answer.server_time);
                let token = answer.refresh_token.take().ok_or_else(|| {
                    ConnectError::NoRefreshToken(self.context.profile_of(&pending.grant_request.provider))
                })?;
                let grant = grant(token, answer.refresh_token_expires_in);
                Ok((answer, grant, Some(&pending.nonce)))
            }
            Err(NoToken {
                error,
                refresh_token: Some(token),
                refresh_token_expires_in,
            }) => {
                tracing::warn!(%error, "the grant of a consent came with an answer that cannot be used");
                let mut grant = grant(token, refresh_token_expires_in);
                let answer = self
                    .first_use
                    .first_answer(&pending.grant_request.provider, &mut grant)
                    .await;
                let answer = answer.map_err(|error| self.failed(&pending.grant_request.provider, error))?;
                Ok((answer, grant, None))
            }
            Err(failure) => Err(self.failed(&pending.grant_request.provider, *failure.error)),
        }
    }

    /// Records why a consent ended without an account. One that was kept has its line already.
    fn note_connect(&self, pending: &Pending, ending: &Result<Connected, ConnectError>, actor: Actor) {
        let owner = &pending.grant_request.owner;
        let error = match ending {
            Ok(connected) => {
                return tracing::info!(%owner, integration = %connected.account, "consent ended: connected");
            }
            Err(error) => error,
        };
        let decision = match error {
            ConnectError::Denied(..)
            | ConnectError::OtherAccount { .. }
            | ConnectError::NotThatAccount { .. }
            | ConnectError::ConnectedAlready { .. } => Decision::Denied,
            _ => Decision::Failed,
        };
        tracing::info!(%owner, message = %error, "consent ended: not connected");
        let capabilities = pending.grant_request.capabilities.clone();
        self.grants
            .note_unconnected(actor, owner, capabilities, decision, error.to_string());
    }

    /// The account that a consent ended with.
    pub fn connected_account(&self, connected: &Connected) -> Option<AccountView> {
        self.account_list
            .account(&AccountRef::Id(connected.account.clone()))
            .ok()
    }
}

/// Who connected what, and how the answer differs from what was asked for.
fn told_of(owner: &OwnerId, kept: &GrantCommitted, missing: &[CapabilityKey]) -> String {
    let mut told = format!("{owner} connected {}", kept.address);
    if let Some(before) = &kept.renamed_from {
        let _ = write!(told, ", whose address was {before} before");
    }
    for (keys, words) in [
        (missing, "asked for and not given"),
        (&kept.withdrawn, "not granted any more"),
        (&kept.unasked, "granted without being asked for"),
    ] {
        if !keys.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(told, "; {words}: {}", list(keys));
        }
    }
    told
}

fn new_connect_id(entropy: &dyn Entropy) -> String {
    format!("con_{}", &entropy.token()[..22])
}
