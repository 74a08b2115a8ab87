//! Service accounts: a key is tried, sealed, and asked with.

use std::sync::Arc;

use jiff::Timestamp;

use super::{AccountRef, AccountView, Broker, keep::Telling, renewal::Failure, slots::Cause};
use crate::{
    catalog::{Capability, IntegrationKind, ScopeSet},
    google::{AssertionRequest, InvalidKeyFile, ProviderError, ServiceAccountKey, TokenAnswer},
    id::OwnerId,
    secret::PrivateKey,
    store::{Health, IntegrationRecord},
    telemetry::audit::{Actor, Decision},
    text,
    vault::{Binding, Sealed},
};

const KIND: IntegrationKind = IntegrationKind::GoogleServiceAccount;

/// A key that is to be added. No `Debug`: it holds a secret.
pub struct NewServiceAccount {
    /// Whose it is to be.
    pub owner: OwnerId,
    /// The key file, as the Google Cloud console makes it.
    pub file: PrivateKey,
    /// For whom it is to act (domain-wide delegation); `None` keeps what was said before.
    pub subject: Option<String>,
}

/// A service account that was added.
pub struct ServiceAccountAdded {
    /// The account.
    pub account: AccountView,
    /// The name of the key that is used from now on.
    pub key_id: String,
    /// It takes the place of another key of the same account.
    pub replaced: bool,
}

/// Why a service account was not added. Holds no secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServiceAccountError {
    /// The file is no key, or not one for here.
    #[error("the key file cannot be used: {0}. Nothing was stored")]
    File(#[from] InvalidKeyFile),
    /// Not an address.
    #[error("`{0}` is not the address of a person to act for, such as alice@example.com. Nothing was stored")]
    Subject(String),
    /// Google gave no token for it.
    #[error("{} Nothing was stored", .0.of_one_attempt())]
    Provider(ProviderError),
    /// It could not be kept.
    #[error("the key could not be kept: {0}. Nothing was changed")]
    Store(String),
}

impl Broker {
    /// Adds a service account, or replaces its key: the key is tried first, and kept when it works. Runs to its end
    /// even when the caller goes away.
    pub async fn add_service_account(
        self: &Arc<Self>,
        new: NewServiceAccount,
        actor: Actor,
    ) -> Result<ServiceAccountAdded, ServiceAccountError> {
        let broker = self.clone();
        let work = async move {
            let owner = new.owner.clone();
            let ending = broker.add(new, &actor).await;
            broker.note_added(&owner, &ending, actor);
            ending
        };
        let lost = |_| {
            Err(ServiceAccountError::Store(
                "the daemon failed; see its log".to_owned(),
            ))
        };
        self.flights.spawn(work).await.unwrap_or_else(lost)
    }

    async fn add(
        self: &Arc<Self>,
        new: NewServiceAccount,
        actor: &Actor,
    ) -> Result<ServiceAccountAdded, ServiceAccountError> {
        let key = ServiceAccountKey::parse(new.file.expose(), &self.around.token_endpoint)?;
        if let Some(subject) = new.subject.as_deref().filter(|subject| !is_address(subject)) {
            let shown = text::quoted(subject, 80);
            return Err(ServiceAccountError::Subject(shown));
        }
        let find = || Ok::<_, ServiceAccountError>(self.service_account(&new.owner, &key.email));
        let before = find()?;
        let subject = new.subject.or_else(|| before.map(|before| before.subject));
        let subject = subject.unwrap_or_else(|| key.email.clone());
        // Nobody waits for this but whoever asked: the account's turn is not needed to try a key.
        let scopes = self
            .try_key(&key, &subject)
            .await
            .map_err(ServiceAccountError::Provider)?;
        let held = self.hold(find).await?;
        let id = self.id_of(held.existing.as_ref());
        let record = IntegrationRecord {
            secret: self.vault.seal(&Binding::ServiceAccountKey(&id), &key.to_json()),
            id: id.clone(),
            kind: KIND,
            owner: new.owner,
            subject,
            account: key.email,
            former: Arc::default(),
            authority: self.around.token_endpoint.clone(),
            scopes,
            declined: Arc::default(),
            health: Health::Active,
            version: 0,
            connected_at: self.now(),
            renewed_at: None,
            grant_expires_at: None,
            renewal: None,
        };
        let stored = |error: &dyn std::fmt::Display| ServiceAccountError::Store(error.to_string());
        let replaced = held.existing.is_some();
        let telling = Telling {
            actor: actor.clone(),
            capabilities: self.catalog().covered_by(KIND, &record.scopes),
            detail: told_of(&record, &key.key_id, replaced),
        };
        self.put_account(record, telling)
            .await
            .map_err(|error| stored(&error))?;
        let account = self
            .account(&AccountRef::Id(id))
            .map_err(|error| stored(&error))?;
        Ok(ServiceAccountAdded {
            account,
            key_id: key.key_id,
            replaced,
        })
    }

    fn service_account(&self, owner: &OwnerId, email: &str) -> Option<IntegrationRecord> {
        let world = self.world();
        let mut accounts = world.accounts_of_kind(owner, KIND);
        let found = accounts.find(|account| account.record.account == email);
        found.map(|account| account.record.clone())
    }

    /// Asks for a token with a new key, which shows whether it works, and which scopes it may ask for. A service account
    /// that speaks for itself may ask for any; one that acts for a person for what the domain's administrator
    /// delegated to it.
    async fn try_key(&self, key: &ServiceAccountKey, subject: &str) -> Result<ScopeSet, ProviderError> {
        let all = self.catalog().scopes_of(KIND);
        let refused = match self.once_more(|| self.assert(key, subject, &all)).await {
            Ok(answer) => return Ok(answer.scopes.unwrap_or(all)),
            Err(error) => error,
        };
        let delegation = subject != key.email
            && matches!(
                refused.code.as_str(),
                "unauthorized_client" | "access_denied" | "invalid_scope"
            );
        if !delegation {
            return Err(refused);
        }
        let capabilities: Vec<&Capability> =
            self.catalog().iter().filter(|c| c.integration == KIND).collect();
        let mut delegated = ScopeSet::default();
        if capabilities.len() > 1 {
            for capability in capabilities {
                if self.assert(key, subject, &capability.scopes).await.is_ok() {
                    delegated = delegated.union(&capability.scopes);
                }
            }
        }
        if !delegated.is_empty() {
            return Ok(delegated);
        }
        let mut error = refused;
        error.message = format!(
            "{} Client id: {}. Scopes: {all}.",
            error.message,
            or_unknown(&key.client_id)
        );
        Err(error)
    }

    /// Asks for a token with a service account's key. An assertion says what time it is, so one that was refused, by a
    /// provider whose clock shows something else, is made once more by that.
    async fn assert(
        &self,
        key: &ServiceAccountKey,
        subject: &str,
        scopes: &ScopeSet,
    ) -> Result<TokenAnswer, ProviderError> {
        let refused = match self
            .assert_at(self.clock.provider_now(), key, subject, scopes)
            .await
        {
            Err(error) if error.code == "invalid_grant" => error,
            answer => return answer,
        };
        let heard = refused.server_time.as_ref();
        let corrected = heard
            .and_then(|heard| self.clock.corrected_by(**heard))
            // What was heard before may have been any proxy's.
            .or_else(|| self.clock.if_differing());
        match corrected {
            Some(now) => self.assert_at(now, key, subject, scopes).await,
            None => Err(refused),
        }
    }

    /// Asks once, with an assertion that says that it is `now`. What an accepted answer says of the time is learned.
    async fn assert_at(
        &self,
        now: Timestamp,
        key: &ServiceAccountKey,
        subject: &str,
        scopes: &ScopeSet,
    ) -> Result<TokenAnswer, ProviderError> {
        let request = AssertionRequest {
            key,
            subject: (subject != key.email).then_some(subject),
            scopes,
            now,
        };
        let asked = std::time::Instant::now();
        let answer = self.provider.assert(&request).await;
        self.metrics.provider_request("assertion", asked.elapsed());
        let answer = answer?;
        self.note_accepted(answer.server_time);
        Ok(answer)
    }

    /// Asks with the key of a record.
    pub(super) async fn assert_with(
        &self,
        record: &IntegrationRecord,
        secret: &Sealed,
        scopes: &ScopeSet,
    ) -> Result<TokenAnswer, Failure> {
        let key = self
            .open_key(record, secret)
            .map_err(|message| Failure::Local(Cause::Other, message))?;
        let answer = self
            .assert(&key, &record.subject, scopes)
            .await
            .map_err(Failure::Provider)?;
        Ok(TokenAnswer {
            // Whatever it may be, it does not take the key's place.
            refresh_token: None,
            ..answer
        })
    }

    fn open_key(&self, record: &IntegrationRecord, secret: &Sealed) -> Result<ServiceAccountKey, String> {
        let failed = |reason: &dyn std::fmt::Display| {
            format!("The key of {} cannot be opened: {reason}", record.account)
        };
        let binding = Binding::ServiceAccountKey(&record.id);
        let plain = self
            .vault
            .open(&binding, secret)
            .map_err(|error| failed(&error))?;
        let text = std::str::from_utf8(&plain).map_err(|error| failed(&error))?;
        ServiceAccountKey::parse(text, &self.around.token_endpoint).map_err(|error| failed(&error))
    }

    /// Records why nothing was added. A key that was kept has its line already.
    fn note_added(
        &self,
        owner: &OwnerId,
        ending: &Result<ServiceAccountAdded, ServiceAccountError>,
        actor: Actor,
    ) {
        let Err(error) = ending else {
            return tracing::info!(%owner, "service account added");
        };
        let detail = format!("a service account of {owner}: {error}");
        tracing::info!(%owner, message = detail, "no service account added");
        self.note_unconnected(actor, owner, Vec::new(), Decision::Failed, detail);
    }
}

fn told_of(record: &IntegrationRecord, key_id: &str, replaced: bool) -> String {
    let what = if replaced { "has a new key" } else { "was added" };
    let delegated = if record.subject == record.account {
        String::new()
    } else {
        format!(", acting for {}", record.subject)
    };
    let (account, owner) = (&record.account, &record.owner);
    format!("the service account {account} of {owner} {what}: {key_id}{delegated}")
}

fn or_unknown(client_id: &str) -> &str {
    if client_id.is_empty() {
        "see the account's page in the Google Cloud console"
    } else {
        client_id
    }
}

/// It goes into assertions and messages.
fn is_address(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"@.-_+'".contains(&b);
    let parts = text.split_once('@');
    text.len() <= 254
        && text.bytes().all(plain)
        && parts.is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty())
}
