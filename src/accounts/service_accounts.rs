//! Service accounts: a key is tried, sealed, and asked with.

use std::sync::Arc;

use crate::{
    accounts::{
        commit_grant::{Grants, Telling},
        list::{AccountList, AccountView},
        not_kept::NotKept,
    },
    capability::{Capability, ScopeSet},
    id::{IntegrationId, OwnerId, ProviderId},
    policy::{context::PolicyContext, select_account::AccountRef},
    provider::{AccountKey, AssertionProvider, InvalidKeyFile, ProviderError, Retried},
    registry::{keys::TokenKey, state::SharedRegistry, time::BrokerClock},
    renewal::{
        assertions::Assertions, outcome::Renewed, parts::Renewing, recovery::Recovery, services::Services,
        single_flight::SingleFlight,
    },
    secret::PrivateKey,
    store::{Health, IntegrationRecord},
    telemetry::audit::{Actor, Decision},
    text,
    vault::{Binding, Vault},
};

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
    #[error("{} Nothing was stored", .0.sentence(Retried::ByHand))]
    Provider(ProviderError),
    /// It gave none for the person that the account is to act for.
    #[error(
        "{} Client id: {}. Scopes: {scopes}. Nothing was stored",
        error.sentence(Retried::ByHand),
        or_unknown(client_id)
    )]
    NotDelegated {
        /// What it answered.
        error: ProviderError,
        /// The account's number, which the domain's administrator delegates to; empty where it is not known.
        client_id: String,
        /// What was asked for.
        scopes: ScopeSet,
    },
    /// It could not be kept.
    #[error("the key could not be kept: {0}. Nothing was changed")]
    Store(NotKept),
}

/// A provider whose accounts are added by keys.
struct KeyedProvider<'a> {
    id: &'a ProviderId,
    issuer_binding: &'a Arc<str>,
    keys: &'a Arc<dyn AssertionProvider>,
}

/// Whose a key's account is, for whom it speaks, and what it may ask for.
struct Whose {
    owner: OwnerId,
    subject: String,
    scopes: ScopeSet,
}

/// Adds service accounts by their keys.
pub struct ServiceAccounts {
    clock: Arc<BrokerClock>,
    context: Arc<PolicyContext>,
    single_flight: Arc<SingleFlight<TokenKey, Renewed>>,
    registry: Arc<SharedRegistry>,
    vault: Arc<Vault>,
    account_list: Arc<AccountList>,
    assertions: Arc<Assertions>,
    grants: Arc<Grants>,
    recovery: Arc<Recovery>,
}

impl ServiceAccounts {
    /// With what it needs of the parts before it.
    pub(crate) fn new(
        services: &Services,
        renewing: &Renewing,
        account_list: &Arc<AccountList>,
        grants: &Arc<Grants>,
    ) -> Arc<Self> {
        Arc::new(Self {
            clock: services.clock.clone(),
            context: services.context.clone(),
            single_flight: services.single_flight.clone(),
            registry: services.registry.clone(),
            vault: services.vault.clone(),
            account_list: account_list.clone(),
            assertions: renewing.assertions.clone(),
            grants: grants.clone(),
            recovery: renewing.recovery.clone(),
        })
    }

    /// Adds a service account, or replaces its key: the key is tried first, and kept when it works. Runs to its end
    /// even when the caller goes away.
    pub async fn add_service_account(
        self: &Arc<Self>,
        new: NewServiceAccount,
        actor: Actor,
    ) -> Result<ServiceAccountAdded, ServiceAccountError> {
        let this = self.clone();
        let work = async move {
            let owner = new.owner.clone();
            let ending = this.add(new, &actor).await;
            this.note_added(&owner, &ending, actor);
            ending
        };
        let lost = |_| Err(ServiceAccountError::Store(NotKept::Interrupted));
        self.single_flight.spawn(work).await.unwrap_or_else(lost)
    }

    async fn add(
        self: &Arc<Self>,
        new: NewServiceAccount,
        actor: &Actor,
    ) -> Result<ServiceAccountAdded, ServiceAccountError> {
        let provider = self.provider()?;
        let key = provider.keys.read_key(new.file.expose())?;
        if let Some(subject) = new.subject.as_deref().filter(|subject| !is_address(subject)) {
            let shown = text::quoted(subject, 80);
            return Err(ServiceAccountError::Subject(shown));
        }
        let find =
            || Ok::<_, ServiceAccountError>(self.service_account(provider.id, &new.owner, &key.address));
        let before = find()?;
        let subject = new.subject.or_else(|| before.map(|before| before.subject));
        let subject = subject.unwrap_or_else(|| key.address.clone());
        // Nobody waits for this but whoever asked: the account's turn is not needed to try a key.
        let scopes = self.try_key(&provider, &key, &subject).await?;
        let held = self.grants.hold(find).await?;
        let id = self.grants.id_of(held.existing.as_ref());
        let whose = Whose {
            owner: new.owner,
            subject,
            scopes,
        };
        let record = self.record_of(&provider, &id, whose, &key);
        let replaced = held.existing.is_some();
        let telling = Telling {
            actor: actor.clone(),
            capabilities: self.context.catalog.covered_by(provider.id, &record.scopes),
            detail: told_of(&record, &key.id, replaced),
        };
        self.grants
            .put_account(record, telling)
            .await
            .map_err(|error| ServiceAccountError::Store(error.into()))?;
        let account = self
            .account_list
            .account(&AccountRef::Id(id))
            .map_err(|_| ServiceAccountError::Store(NotKept::Disconnected))?;
        Ok(ServiceAccountAdded {
            account,
            key_id: key.id,
            replaced,
        })
    }

    /// The account as this key makes it.
    fn record_of(
        &self,
        provider: &KeyedProvider<'_>,
        id: &IntegrationId,
        whose: Whose,
        key: &AccountKey,
    ) -> IntegrationRecord {
        IntegrationRecord {
            secret: self.vault.seal(&Binding::ServiceAccountKey(id), &key.text),
            proof_key: None,
            id: id.clone(),
            provider: provider.id.clone(),
            owner: whose.owner,
            subject: whose.subject,
            account: key.address.clone(),
            former: Arc::default(),
            issuer_binding: provider.issuer_binding.clone(),
            scopes: whose.scopes,
            declined: Arc::default(),
            health: Health::Active,
            version: 0,
            connected_at: self.clock.now(),
            renewed_at: None,
            grant_expires_at: None,
            renewal: None,
        }
    }

    /// The provider whose accounts are added by keys.
    fn provider(&self) -> Result<KeyedProvider<'_>, InvalidKeyFile> {
        let found = self.context.providers.iter().find_map(|provider| {
            Some(KeyedProvider {
                id: provider.id(),
                issuer_binding: &provider.issuer_binding,
                keys: provider.keys()?,
            })
        });
        found.ok_or(InvalidKeyFile::NoProvider)
    }

    fn service_account(
        &self,
        provider: &ProviderId,
        owner: &OwnerId,
        email: &str,
    ) -> Option<IntegrationRecord> {
        let registry = self.registry.lock();
        let mut accounts = registry.accounts_at(owner, provider);
        let found = accounts.find(|account| account.record.account == email);
        found.map(|account| account.record.clone())
    }

    /// Asks for a token with a new key, which shows whether it works, and which scopes it may ask for. A service account
    /// that speaks for itself may ask for any; one that acts for a person for what the domain's administrator
    /// delegated to it.
    async fn try_key(
        &self,
        provider: &KeyedProvider<'_>,
        key: &AccountKey,
        subject: &str,
    ) -> Result<ScopeSet, ServiceAccountError> {
        let keys = (provider.id, &**provider.keys);
        let all = self.context.catalog.scopes_of(provider.id);
        let refused = match self
            .recovery
            .once_more(|| self.assertions.assert(keys, key, subject, &all))
            .await
        {
            Ok(answer) => return Ok(answer.scopes.unwrap_or(all)),
            Err(error) => error,
        };
        let delegation = subject != key.address
            && matches!(
                refused.oauth_error(),
                Some("unauthorized_client" | "access_denied" | "invalid_scope")
            );
        if !delegation {
            return Err(ServiceAccountError::Provider(refused));
        }
        let capabilities: Vec<&Capability> = self
            .context
            .catalog
            .iter()
            .filter(|c| c.integration == *provider.id)
            .collect();
        let mut delegated = ScopeSet::default();
        if capabilities.len() > 1 {
            for capability in capabilities {
                if self
                    .assertions
                    .assert(keys, key, subject, &capability.scopes)
                    .await
                    .is_ok()
                {
                    delegated = delegated.union(&capability.scopes);
                }
            }
        }
        if !delegated.is_empty() {
            return Ok(delegated);
        }
        Err(ServiceAccountError::NotDelegated {
            error: refused,
            client_id: key.client_id.clone(),
            scopes: all,
        })
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
        self.grants
            .note_unconnected(actor, owner, Vec::new(), Decision::Failed, detail);
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
