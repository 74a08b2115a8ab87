//! The end of a consent: the redirect received, the code exchanged, the grant committed.

use std::{fmt::Write, sync::Arc};

use crate::{
    accounts::{
        commit_grant::Telling,
        connect::Connect,
        connect_error::ConnectError,
        connected::Connected,
        consents::{Found, Pending},
        first_use::FirstGrant,
        grant_request::GrantCommitted,
        list::AccountView,
        not_kept::NotKept,
    },
    id::{CapabilityKey, OwnerId},
    policy::{context::list, select_account::AccountRef},
    provider::{
        NoToken, TokenAnswer,
        oauth::{Redirect, redirect::Outcome},
    },
    secret::AuthorizationCode,
    session::Visit,
    telemetry::audit::{Actor, Decision},
    text,
};

impl Connect {
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

    /// Whose consent goes by this name; nobody's where there is none.
    pub fn owner_of_consent(&self, connect_id: &str) -> Option<OwnerId> {
        self.consents.owner_of(connect_id)
    }

    /// Whose consent this redirect's query would end.
    pub fn owner_of_redirect(&self, query: &str) -> Option<OwnerId> {
        self.consents.owner_of_state(&Redirect::parse(query).ok()?.state)
    }

    async fn complete(
        self: &Arc<Self>,
        query: &str,
        actor: Option<Actor>,
        visit: Option<&Visit<'_>>,
    ) -> Result<Connected, ConnectError> {
        let redirect = Redirect::parse(query)?;
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
            let failed = Err(ConnectError::Store(NotKept::Interrupted));
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
            proof_key: pending.proof_key.clone(),
            expires_in,
            only_here: true,
            since,
        };
        match self
            .recovery
            .once_more(|| {
                self.recovery.proven(
                    &pending.grant_request.provider,
                    pending.proof_key.as_deref(),
                    |proven| provider.exchange(code, &pending.verifier, proven),
                )
            })
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
