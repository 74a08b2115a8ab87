//! Connected accounts: listing and checking.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    capability::{Capability, Coverage},
    id::{AgentName, CapabilityKey, OwnerId},
    policy::{
        context::{self, PolicyContext, action_url, refused, state_of},
        fault_sentences,
        former_names::agents_by_former,
        grant_binding::{self, GrantBinding},
        select_account::{AccountRef, NotFound, SeveralAccounts, UnknownAccount, agents_on, find},
    },
    registry::{
        agent_state::{AgentState, CapabilityState},
        ending,
        state::{Account, Registry, SharedRegistry},
        time::BrokerClock,
        tokens::Cause,
    },
    renewal::services::Services,
    store::{Health, IntegrationRecord, StoreError},
};

/// Why nothing was done with an account.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// No such account.
    #[error("{0}: `token-broker integrations list` shows the connected accounts")]
    Unknown(UnknownAccount),
    /// Several fit.
    #[error(transparent)]
    Ambiguous(SeveralAccounts),
    /// It was checked several times just now.
    #[error("the provider was asked several times just now; try again in {} s", .0.as_secs() + 1)]
    TooOften(Duration),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<NotFound> for AccountError {
    fn from(found: NotFound) -> Self {
        match found {
            NotFound::Unknown(what) => Self::Unknown(what),
            NotFound::Several(several) => Self::Ambiguous(several),
        }
    }
}

/// How one capability of an account stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilityStanding {
    /// Which.
    pub key: CapabilityKey,
    /// How it stands.
    pub state: CapabilityState,
    /// The wider key that satisfies it, when its own scope was not granted.
    pub satisfied_by: Option<CapabilityKey>,
    /// The agents on this account that declare it.
    pub agents: Vec<AgentName>,
    /// Those of them whose own token does not carry it, although the account granted it: the provider gave less than was
    /// asked for.
    pub lacking: Vec<AgentName>,
}

/// An account as the operator sees it.
pub struct AccountView {
    /// The record; its secret is sealed.
    pub record: IntegrationRecord,
    /// How it stands, and the sentence that goes with it.
    standing: (AgentState, String),
    /// What the granted scopes cover.
    pub capabilities: Vec<CapabilityKey>,
    /// These, and those that an agent waits for or the person did not give, in the catalogue's order.
    pub standings: Vec<CapabilityStanding>,
    /// The agents that use it.
    pub agents: Vec<AgentName>,
    /// Those of them whose manifests name it by an address that it had before.
    pub agents_by_former: Vec<AgentName>,
    /// Its grant ends soon, by itself.
    pub ends_soon: bool,
    /// It is an account of a key: nobody consents for it, and nothing can be revoked from here.
    pub keyed: bool,
    /// Whether its grant is bound to a key, where it has one that may be.
    pub binding: Option<GrantBinding>,
    /// Who runs its provider.
    pub provider_name: String,
    /// Where the person sees and removes what was allowed; empty where the provider has no such page.
    pub connections_url: String,
    /// A page that says what to do, when somebody has to do something.
    pub action_url: Option<String>,
}

impl AccountView {
    /// How it stands, named as for agents.
    pub fn state(&self) -> AgentState {
        self.standing.0
    }

    /// The sentence that goes with the state; empty when all is well.
    pub fn message(&self) -> &str {
        &self.standing.1
    }
}

/// Connected accounts as the operator and their owners see them.
pub struct AccountList {
    clock: Arc<BrokerClock>,
    context: Arc<PolicyContext>,
    registry: Arc<SharedRegistry>,
}

impl AccountList {
    /// With what it needs of the parts before it.
    pub(crate) fn new(services: &Services) -> Arc<Self> {
        Arc::new(Self {
            clock: services.clock.clone(),
            context: services.context.clone(),
            registry: services.registry.clone(),
        })
    }

    /// The accounts, by owner and address; only the owner's where one is given.
    pub fn accounts(&self, owner: Option<&OwnerId>) -> Vec<AccountView> {
        let registry = self.registry.lock();
        let wanted = |account: &&Account| owner.is_none_or(|owner| account.record.owner == *owner);
        let mut views: Vec<_> = registry
            .accounts
            .values()
            .map(Box::as_ref)
            .filter(wanted)
            .map(|account| self.account_view(&registry, account))
            .collect();
        let order = |view: &AccountView| {
            let record = &view.record;
            (record.owner.clone(), record.account.clone(), record.id.clone())
        };
        views.sort_by_cached_key(order);
        views
    }

    /// The state of each account.
    pub fn account_states(&self) -> Vec<AgentState> {
        let registry = self.registry.lock();
        registry
            .accounts
            .values()
            .map(|account| self.standing(&registry, account).0)
            .collect()
    }

    /// How many accounts there are.
    pub fn account_count(&self) -> usize {
        self.registry.lock().accounts.len()
    }

    /// How many accounts would be bound to a key if they were connected again.
    pub fn bindable_count(&self) -> usize {
        let registry = self.registry.lock();
        let records = registry.accounts.values().map(|account| &account.record);
        let binding = |record: &IntegrationRecord| {
            grant_binding::of(record, self.context.providers.get(&record.provider))
        };
        let bindable = GrantBinding::Unbound { would_bind: true };
        records.filter(|record| binding(record) == Some(bindable)).count()
    }

    /// How many tokens cannot be renewed because the database does not take what a renewal writes.
    pub fn renewals_refused_by_store(&self) -> usize {
        let registry = self.registry.lock();
        let failures = registry
            .tokens
            .iter()
            .filter_map(|(_, entry)| entry.last_failure.as_deref());
        failures.filter(|failure| failure.cause == Cause::Store).count()
    }

    /// One account.
    pub fn account(&self, which: &AccountRef) -> Result<AccountView, AccountError> {
        let registry = self.registry.lock();
        let account = find(&registry, which)?;
        Ok(self.account_view(&registry, account))
    }

    /// How an account stands: what keeps it as a whole from working, otherwise what troubles its tokens.
    fn standing(&self, registry: &Registry, account: &Account) -> (AgentState, String) {
        if let Some((state, fault)) = refused(&self.context, account) {
            return (state, fault_sentences::account(&self.context, &fault));
        }
        let last_failure = registry
            .entries_of(&account.record.id)
            .find_map(|(_, token_entry)| token_entry.last_failure.as_deref());
        match last_failure {
            Some(last_failure) => {
                let sentence = fault_sentences::renewal(&self.context, &last_failure.fault);
                (state_of(last_failure.kind), sentence)
            }
            None if account.check_at.is_some() => (
                AgentState::ProviderUnavailable,
                context::unchecked(&self.context, account),
            ),
            None => {
                let notice = ending::notice(&account.record, account.ending, self.clock.uptime());
                (AgentState::Active, notice.unwrap_or_default())
            }
        }
    }

    pub(crate) fn account_view(&self, registry: &Registry, account: &Account) -> AccountView {
        let record = account.record.clone();
        let standing = self.standing(registry, account);
        let agents = agents_on(registry, &self.context, account);
        let standings = self.standings(registry, account, &agents);
        let ends_soon = ending::notice(&account.record, account.ending, self.clock.uptime()).is_some();
        let action_url = agents
            .iter()
            .filter_map(|name| registry.agents.get(name))
            .find(|_| {
                self.context.is_consented(&record.provider) && (record.health != Health::Active || ends_soon)
            })
            .map(|entry| action_url(&self.context, &entry.manifest));
        let capabilities = self.context.catalog.covered_by(&record.provider, &record.scopes);
        let provider = self.context.providers.get(&record.provider);
        AccountView {
            keyed: provider.is_some_and(|provider| provider.keys().is_some()),
            binding: grant_binding::of(&record, provider),
            provider_name: self.context.name_of(&record.provider),
            connections_url: provider
                .and_then(|provider| provider.profile.origin.connections())
                .unwrap_or_default()
                .to_owned(),
            record,
            standing,
            capabilities,
            standings,
            agents_by_former: agents_by_former(registry, &self.context, account),
            agents,
            ends_soon,
            action_url,
        }
    }

    fn standings(
        &self,
        registry: &Registry,
        account: &Account,
        agents: &[AgentName],
    ) -> Vec<CapabilityStanding> {
        let mut wanted: BTreeMap<&CapabilityKey, Vec<AgentName>> = BTreeMap::new();
        for name in agents {
            let entry = registry.agents.get(name);
            for requirement in entry.into_iter().flat_map(|entry| &entry.manifest.integrations) {
                wanted.entry(&requirement.key).or_default().push(name.clone());
            }
        }
        let record = &account.record;
        let one = |capability: &Capability| {
            let agents = wanted.get(&capability.key);
            let (state, satisfied_by) = match self.context.catalog.coverage(capability, &record.scopes) {
                Coverage::Own => (CapabilityState::Granted, None),
                Coverage::Wider(wider) => (CapabilityState::Satisfied, Some(wider.key.clone())),
                Coverage::None if record.declined.contains(&capability.key) => {
                    (CapabilityState::Declined, None)
                }
                Coverage::None => (agents.map(|_| CapabilityState::Missing)?, None),
            };
            let is_granted = matches!(state, CapabilityState::Granted | CapabilityState::Satisfied);
            let lacks = |name: &&AgentName| is_granted && lacks(registry, name, &capability.key);
            Some(CapabilityStanding {
                key: capability.key.clone(),
                state,
                satisfied_by,
                lacking: agents.into_iter().flatten().filter(lacks).cloned().collect(),
                agents: agents.cloned().unwrap_or_default(),
            })
        };
        let of_this_provider = |c: &&Capability| c.integration == record.provider;
        self.context
            .catalog
            .iter()
            .filter(of_this_provider)
            .filter_map(one)
            .collect()
    }
}

/// Whether an agent is told that it does not have what it declares.
fn lacks(registry: &Registry, name: &AgentName, key: &CapabilityKey) -> bool {
    let entry = registry.agents.get(name);
    entry.is_some_and(|entry| {
        let snapshot = entry.handle.snapshot();
        let mut statuses = snapshot.capabilities.iter();
        statuses.any(|status| status.key == *key && !status.granted)
    })
}
