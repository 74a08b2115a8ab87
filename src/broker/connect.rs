//! A person connects an account: consent begun, redirect received, code exchanged.

use std::sync::Arc;

use jiff::Timestamp;

use super::{AccountView, Broker, Event, EventKind, accounts::AccountRef, consents::Pending};
use crate::{
    catalog::IntegrationKind,
    clock::{self, Clock},
    entropy::Entropy,
    google::{Consent, ConsentRequest, ProviderError, Redirect, redirect::Outcome},
    id::{CapabilityKey, IntegrationId, OwnerId},
    secret::AuthorizationCode,
    telemetry::audit::{Actor, AuditEvent, Decision},
};

/// A consent that has begun.
pub struct ConnectStarted {
    /// Where the person's browser has to go.
    pub authorization_url: url::Url,
    /// Names the consent; not a secret.
    pub connect_id: String,
    /// When it is given up.
    pub expires_at: Timestamp,
}

/// A consent that ended well.
#[derive(Clone)]
pub struct Connected {
    /// The account.
    pub account: IntegrationId,
    /// Whose it is.
    pub owner: OwnerId,
    /// Asked for, but not granted.
    pub missing: Vec<CapabilityKey>,
    /// Where the browser is to go.
    pub return_url: Option<String>,
}

/// A consent that did not end well. Holds no secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// A key that the catalogue does not have, or that no person can grant.
    #[error("{0}")]
    Capability(String),
    /// Not an address that the configuration allows.
    #[error(
        "the return URL {0} is not allowed: list its origin under `return_url_origins` in the `[connect]` section"
    )]
    ReturnUrl(String),
    /// Too many at once.
    #[error("too many consents are under way; finish some, or wait until they expire")]
    TooMany,
    /// The redirect does not parse.
    #[error("this is not a redirect from the provider: {0}")]
    BadRedirect(String),
    /// No consent has this state: used already, expired, or never begun here.
    #[error("this consent has been used already or has expired; begin again")]
    UnknownState,
    /// No consent has this id.
    #[error("there is no consent {0} under way; begin again")]
    UnknownConnect(String),
    /// Nobody came back in time.
    #[error(
        "no answer came back from Google in time. If Google showed a page of its own instead, it names the reason: \
         access blocked by an administrator (admin_policy_enforced), an internal-only app (org_internal), a deleted \
         or unknown client (deleted_client, invalid_client), an embedded browser (disallowed_useragent), a redirect \
         address that is not registered (redirect_uri_mismatch), or an invalid request (invalid_request)"
    )]
    TimedOut,
    /// The person said no.
    #[error("the permission was not given: {0} pressed Cancel, or Google refused. Nothing was changed")]
    Denied(OwnerId),
    /// Every box was unticked.
    #[error("none of the permissions was given: tick at least one on Google's page. Nothing was changed")]
    NothingGranted,
    /// Google answered the redirect or the exchange with an error.
    #[error("{0}")]
    Provider(ProviderError),
    /// Google gave no refresh token.
    #[error(
        "Google gave no lasting permission (no refresh token), so access would end within the hour. Remove this \
         app at https://myaccount.google.com/connections, then connect again. Nothing was changed"
    )]
    NoRefreshToken,
    /// A reconnect must be the same account.
    #[error(
        "the owner {owner} has connected {expected}, but {got} was chosen this time. Choose {expected} on Google's page, or \
         disconnect it first. Nothing was changed"
    )]
    OtherAccount {
        /// Whose.
        owner: OwnerId,
        /// The connected account.
        expected: String,
        /// The account that consented.
        got: String,
    },
    /// The grant could not be kept.
    #[error("the account could not be kept: {0}. Nothing was changed")]
    Store(String),
}

impl Broker {
    /// Begins a consent. On a connected account it adds permissions.
    pub fn begin_connect(
        &self,
        owner: &OwnerId,
        capabilities: &[String],
        return_url: Option<&str>,
    ) -> Result<ConnectStarted, ConnectError> {
        let return_url = return_url.map(|url| self.allowed_return(url)).transpose()?;
        let capabilities = self.grantable(capabilities)?;
        let scopes = self
            .catalog()
            .scopes_for(&capabilities)
            .map_err(|error| ConnectError::Capability(error.to_string()))?;
        let existing = self
            .world()
            .accounts_of(owner)
            .next()
            .map(|account| account.record.clone());
        let request = ConsentRequest {
            scopes: &scopes,
            granted: existing.as_ref().map(|record| &record.scopes),
            login_hint: existing.as_ref().map(|record| record.account.as_str()),
        };
        let Consent {
            authorization_url,
            state,
            nonce,
            verifier,
        } = self.provider.consent(&request).map_err(ConnectError::Provider)?;
        let now = self.now();
        let pending = Pending {
            connect_id: new_connect_id(&*self.entropy),
            owner: owner.clone(),
            capabilities,
            return_url,
            nonce,
            verifier,
            expires_at: clock::after(now, self.options.consent_timeout),
        };
        let started = ConnectStarted {
            authorization_url,
            connect_id: pending.connect_id.clone(),
            expires_at: pending.expires_at,
        };
        self.consents.begin(now, &state, pending)?;
        Ok(started)
    }

    fn grantable(&self, names: &[String]) -> Result<Vec<CapabilityKey>, ConnectError> {
        if names.is_empty() {
            return Err(ConnectError::Capability(
                "name at least one capability: `token-broker capabilities` lists them".to_owned(),
            ));
        }
        let one = |name: &String| {
            let found = name
                .parse::<CapabilityKey>()
                .ok()
                .and_then(|key| self.catalog().get(&key));
            match found {
                Some(capability) if capability.integration == IntegrationKind::Google => {
                    Ok(capability.key.clone())
                }
                Some(_) => Err(ConnectError::Capability(format!(
                    "`{name}` belongs to a service account: nobody can consent to it"
                ))),
                None => {
                    let hint = self
                        .catalog()
                        .suggest(name)
                        .map(|key| format!("; did you mean `{key}`?"));
                    Err(ConnectError::Capability(format!(
                        "there is no capability `{}`{}",
                        name.chars()
                            .take(80)
                            .flat_map(char::escape_debug)
                            .collect::<String>(),
                        hint.unwrap_or_default()
                    )))
                }
            }
        };
        names.iter().map(one).collect()
    }

    fn allowed_return(&self, url: &str) -> Result<String, ConnectError> {
        let origin = url::Url::parse(url).ok().map(|url| url.origin());
        match origin {
            Some(origin) if self.options.return_origins.contains(&origin) => Ok(url.to_owned()),
            _ => Err(ConnectError::ReturnUrl(
                url.chars().take(200).flat_map(char::escape_debug).collect(),
            )),
        }
    }

    /// Finishes the consent that this redirect's query belongs to. It runs to its end even when the caller
    /// goes away.
    pub async fn complete_connect(
        self: &Arc<Self>,
        query: &str,
        actor: Option<Actor>,
    ) -> Result<Connected, ConnectError> {
        let redirect =
            Redirect::parse(query).map_err(|error| ConnectError::BadRedirect(error.to_string()))?;
        let Some(pending) = self.consents.take(self.now(), &redirect.state) else {
            return Err(ConnectError::UnknownState);
        };
        let (broker, connect_id) = (self.clone(), pending.connect_id.clone());
        let work = async move {
            let actor = actor.unwrap_or_else(|| Actor::Person(pending.owner.to_string()));
            let ending = broker.finish(&pending, redirect.outcome).await;
            broker.note_connect(&pending, &ending, actor);
            broker.consents.end(&pending.connect_id, ending.clone());
            ending
        };
        self.flights.spawn(work).await.unwrap_or_else(|_| {
            let failed = Err(ConnectError::Store("the daemon failed; see its log".to_owned()));
            self.consents.end(&connect_id, failed.clone());
            failed
        })
    }

    /// Waits for the end of a consent.
    pub async fn wait_connect(&self, connect_id: &str) -> Result<Connected, ConnectError> {
        let Some((mut ending, expires_at)) = self.consents.watch(connect_id) else {
            let shown = connect_id.chars().take(80).flat_map(char::escape_debug).collect();
            return Err(ConnectError::UnknownConnect(shown));
        };
        loop {
            let answered = self.consents.is_answered(connect_id);
            if !answered && self.now() >= expires_at {
                return Err(ConnectError::TimedOut);
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
            return found.unwrap_or(Err(ConnectError::TimedOut));
        }
    }

    async fn finish(
        self: &Arc<Self>,
        pending: &Pending,
        outcome: Outcome,
    ) -> Result<Connected, ConnectError> {
        let code: AuthorizationCode = match outcome {
            Outcome::Code { code } => code,
            Outcome::Error { error, .. } if error == "access_denied" => {
                return Err(ConnectError::Denied(pending.owner.clone()));
            }
            Outcome::Error { error, description } => {
                return Err(ConnectError::Provider(ProviderError::of_redirect(
                    &error,
                    description.as_deref(),
                )));
            }
        };
        let mut answer = self
            .provider
            .exchange(&code, &pending.verifier)
            .await
            .map_err(ConnectError::Provider)?;
        self.learn_time(answer.server_time);
        let refresh_token = answer.refresh_token.take().ok_or(ConnectError::NoRefreshToken)?;
        let id_token = answer.id_token.take().ok_or_else(|| {
            ConnectError::Provider(ProviderError::malformed(
                "the answer to the exchange has no id token",
                answer.server_time,
            ))
        })?;
        let identity = self
            .provider
            .identify(&id_token, &pending.nonce)
            .await
            .map_err(ConnectError::Provider)?;
        let asked = self
            .catalog()
            .scopes_for(&pending.capabilities)
            .unwrap_or_default();
        let granted = answer.scopes.clone().unwrap_or(asked);
        let covered = self.catalog().covered_by(&granted);
        if covered.is_empty() {
            return Err(ConnectError::NothingGranted);
        }
        let account = self
            .keep(pending, identity, granted, &answer, &refresh_token)
            .await?;
        Ok(Connected {
            account,
            owner: pending.owner.clone(),
            missing: pending
                .capabilities
                .iter()
                .filter(|key| !covered.contains(key))
                .cloned()
                .collect(),
            return_url: pending.return_url.clone(),
        })
    }

    fn note_connect(&self, pending: &Pending, ending: &Result<Connected, ConnectError>, actor: Actor) {
        let (decision, integration, detail) = match ending {
            Ok(connected) => (Decision::Allowed, Some(connected.account.clone()), String::new()),
            Err(error @ (ConnectError::Denied(_) | ConnectError::OtherAccount { .. })) => {
                (Decision::Denied, None, error.to_string())
            }
            Err(error) => (Decision::Failed, None, error.to_string()),
        };
        let message = match ending {
            Ok(connected) => self
                .account(&AccountRef::Id(connected.account.clone()))
                .map(|view| format!("{} connected {}", pending.owner, view.record.account))
                .unwrap_or_default(),
            Err(_) => detail.clone(),
        };
        tracing::info!(owner = %pending.owner, connected = ending.is_ok(), message, "consent ended");
        let kind = EventKind::IntegrationConnected;
        self.recorder.record(AuditEvent {
            time: self.now(),
            actor,
            action: kind.as_str(),
            integration: integration.clone(),
            capabilities: pending.capabilities.clone(),
            decision,
            detail: if detail.is_empty() {
                message.clone()
            } else {
                detail
            },
        });
        if ending.is_ok() {
            self.emit(Event {
                time: self.now(),
                kind,
                agent: None,
                integration,
                state: None,
                message,
                capabilities: pending.capabilities.clone(),
                expires_at: None,
            });
        }
    }

    /// The account that a consent ended with.
    pub fn connected_account(&self, connected: &Connected) -> Option<AccountView> {
        self.account(&AccountRef::Id(connected.account.clone())).ok()
    }
}

fn new_connect_id(entropy: &dyn Entropy) -> String {
    format!("con_{}", &entropy.token()[..22])
}
