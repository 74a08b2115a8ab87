//! Which account a consent is for: as it is asked for, and as the person then chooses.

use std::sync::Arc;

use crate::{
    accounts::{
        connect_error::ConnectError,
        grant_request::{Expected, GrantRequest},
    },
    id::{AgentName, IntegrationId, OwnerId},
    policy::{
        context::PolicyContext,
        select_account::{AccountRef, SeveralAccounts, UnknownAccount, find},
    },
    provider::{Identity, Provider},
    registry::{
        names::going_by,
        state::{Account, Registry, SharedRegistry},
    },
    renewal::services::Services,
    store::IntegrationRecord,
    text::{quoted, same_address},
};

/// Which account a consent is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectTarget {
    /// The owner's only account, or their first.
    Owner(OwnerId),
    /// The owner's account with this address, which may be connected already or not; or that with this id.
    Address(OwnerId, String),
    /// An account that the owner has not connected yet.
    Another(OwnerId),
    /// This one.
    Integration(IntegrationId),
}

/// A target, and what is known about it.
pub(crate) struct Aim {
    pub(crate) owner: OwnerId,
    pub(crate) expected: Expected,
    /// The account as it is connected now.
    pub(crate) existing: Option<IntegrationRecord>,
    /// Agents that name no account, while this consent would add a second one.
    pub(crate) agents_in_doubt: Vec<AgentName>,
}

impl Aim {
    /// The account that the provider's page is to pre-select.
    pub(crate) fn login_hint(&self) -> Option<&str> {
        let address = match &self.expected {
            Expected::Address(address) => Some(address.as_str()),
            _ => None,
        };
        address.or(self.existing.as_ref().map(|record| record.account.as_str()))
    }
}

/// Finds out which account a consent is for.
pub(crate) struct Targets {
    pub(crate) context: Arc<PolicyContext>,
    pub(crate) registry: Arc<SharedRegistry>,
}

impl Targets {
    /// With what it needs of the parts before it.
    pub(crate) fn new(services: &Services) -> Arc<Self> {
        Arc::new(Self {
            context: services.context.clone(),
            registry: services.registry.clone(),
        })
    }

    /// What a target means now, where consents of this provider are meant.
    pub(crate) fn aim(&self, target: &ConnectTarget, provider: &Provider) -> Result<Aim, ConnectError> {
        let registry = self.registry.lock();
        let people = |owner| registry.accounts_at(owner, provider.id());
        let at = |account: &Account| {
            check_issuer(&account.record, provider)?;
            Ok(Aim {
                owner: account.record.owner.clone(),
                expected: Expected::Connected(account.record.id.clone()),
                existing: Some(account.record.clone()),
                agents_in_doubt: Vec::new(),
            })
        };
        match target {
            ConnectTarget::Integration(id) => {
                let account = find(&registry, &AccountRef::Id(id.clone()))?;
                self.check_consent(account, provider)?;
                at(account)
            }
            ConnectTarget::Owner(owner) => {
                let found: Vec<&Account> = people(owner).collect();
                match found.as_slice() {
                    [] => Ok(self.added(&registry, owner, provider, Expected::Any)),
                    [one] => at(one),
                    several => Err(ConnectError::Ambiguous(SeveralAccounts::among(owner, several))),
                }
            }
            ConnectTarget::Address(owner, name) => {
                match going_by(people(owner), name, |account| &account.record).as_slice() {
                    [] => match name.parse() {
                        // What has an id is there, or is not.
                        Ok(id) => Err(ConnectError::UnknownAccount(UnknownAccount::Id(id))),
                        Err(_) => Ok(self.added(&registry, owner, provider, Expected::Address(name.clone()))),
                    },
                    [one] => at(one),
                    several => Err(ConnectError::Ambiguous(SeveralAccounts::among(owner, several))),
                }
            }
            ConnectTarget::Another(owner) => Ok(self.added(&registry, owner, provider, Expected::Another)),
        }
    }

    /// The provider whose grant is meant: the one that is named, that of the account, or the only one that there is. To
    /// guess would be to send a grant to somebody else.
    pub(crate) fn provider_of(&self, target: &ConnectTarget, named: &str) -> Result<&Provider, ConnectError> {
        let providers = &self.context.providers;
        let consented: Vec<&Provider> = providers.iter().filter(|one| one.consent().is_some()).collect();
        let keys = || consented.iter().map(|one| one.id().to_string()).collect();
        if !named.is_empty() {
            let found = consented.iter().find(|one| one.id().as_str() == named);
            return found.copied().ok_or_else(|| ConnectError::UnknownProvider {
                named: quoted(named, 80),
                known: keys(),
            });
        }
        if let Some(provider) = self.provider_of_account(target) {
            return Ok(provider);
        }
        match consented.as_slice() {
            [only] => Ok(only),
            _ => Err(ConnectError::ProviderUnsaid(keys())),
        }
    }

    /// The provider of the account that the target names by its id.
    fn provider_of_account(&self, target: &ConnectTarget) -> Option<&Provider> {
        let registry = self.registry.lock();
        let account = match target {
            ConnectTarget::Integration(id) => registry.accounts.get(id)?,
            ConnectTarget::Address(owner, name) => {
                let account = registry.accounts.get(&name.parse().ok()?)?;
                (account.record.owner == *owner).then_some(account)?
            }
            ConnectTarget::Owner(_) | ConnectTarget::Another(_) => return None,
        };
        self.context.providers.get(&account.record.provider)
    }

    /// Nobody consents for an account of keys, and capabilities of one provider are not asked of another.
    fn check_consent(&self, account: &Account, provider: &Provider) -> Result<(), ConnectError> {
        let record = &account.record;
        if record.provider == *provider.id() {
            return Ok(());
        }
        if !self.context.is_consented(&record.provider) {
            return Err(ConnectError::ServiceAccount(record.account.clone()));
        }
        Err(ConnectError::OtherProvider {
            account: record.account.clone(),
            provider: record.provider.clone(),
            asked: provider.id().clone(),
        })
    }

    /// The account whose grant this consent replaces; `None` when it is a new one. Whose account it is, the provider says,
    /// and another server under the same key would speak of somebody else.
    pub(crate) fn destination(
        &self,
        grant_request: &GrantRequest,
        identity: &Identity,
    ) -> Result<Option<IntegrationRecord>, ConnectError> {
        let registry = self.registry.lock();
        let owner = &grant_request.owner;
        let people = || registry.accounts_at(owner, &grant_request.provider);
        let of_owner = || people().map(|account| &account.record);
        let provider = self.context.providers.get(&grant_request.provider);
        let is_here =
            |record: &IntegrationRecord| provider.is_none_or(|at| at.issues_for(&record.issuer_binding));
        let same = of_owner().find(|record| record.subject == identity.subject && is_here(record));
        let other = |expected: &IntegrationRecord| ConnectError::OtherAccount {
            at: self.context.name_of(&grant_request.provider),
            owner: owner.clone(),
            expected: expected.account.clone(),
            got: identity.email.clone(),
        };
        if let Expected::Connected(id) = &grant_request.expected
            && let Some(expected) = registry.accounts.get(id)
            && expected.record.subject != identity.subject
        {
            return Err(other(&expected.record));
        }
        match (&grant_request.expected, same) {
            (Expected::Another, Some(same)) => Err(ConnectError::ConnectedAlready {
                at: self.context.name_of(&grant_request.provider),
                owner: owner.clone(),
                account: same.account.clone(),
            }),
            (Expected::Address(address), None) if !same_address(address, &identity.email) => {
                Err(ConnectError::NotThatAccount {
                    at: self.context.name_of(&grant_request.provider),
                    owner: owner.clone(),
                    expected: address.clone(),
                    got: identity.email.clone(),
                })
            }
            // Another consent came first, or the account was disconnected meanwhile.
            (Expected::Any | Expected::Connected(_), None) => match of_owner().next() {
                Some(first) => {
                    provider.map_or(Ok(()), |provider| check_issuer(first, provider))?;
                    Err(other(first))
                }
                None => Ok(None),
            },
            (_, same) => Ok(same.cloned()),
        }
    }

    /// A consent that adds an account.
    fn added(&self, registry: &Registry, owner: &OwnerId, provider: &Provider, expected: Expected) -> Aim {
        let in_doubt = |name: &AgentName| {
            let entry = registry.agents.get(name);
            entry.is_some_and(|entry| {
                let named = entry.manifest.account_in(&provider.profile.account_field);
                named.is_none() && self.context.declares(&entry.manifest, provider.id())
            })
        };
        let agents_in_doubt = if registry.accounts_at(owner, provider.id()).count() == 1 {
            registry.agents_of(owner).into_iter().filter(in_doubt).collect()
        } else {
            Vec::new()
        };
        Aim {
            owner: owner.clone(),
            expected,
            existing: None,
            agents_in_doubt,
        }
    }
}

/// An account of another server is left alone, whatever the server that its provider is now says of its accounts.
fn check_issuer(record: &IntegrationRecord, provider: &Provider) -> Result<(), ConnectError> {
    if provider.issues_for(&record.issuer_binding) {
        return Ok(());
    }
    Err(ConnectError::OtherIssuer {
        id: record.id.clone(),
        owner: record.owner.clone(),
        account: record.account.clone(),
        provider: record.provider.clone(),
        found: provider.server_of(&record.issuer_binding),
        configured: provider.server_of(&provider.issuer_binding),
    })
}
