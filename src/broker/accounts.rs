//! Connected accounts: listing and checking.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    AccountRef, AgentState, Asker, Broker, CapabilityState, SeveralAccounts, TokenKey,
    choice::{NotFound, agents_on, find},
    ending,
    names::agents_by_former,
    situation::{action_url, refused, state_of},
    unchecked,
    world::{Account, World},
};
use crate::{
    catalog::{Capability, Coverage, IntegrationKind},
    id::{AgentName, CapabilityKey, OwnerId},
    store::{Health, IntegrationRecord, StoreError},
};

/// Why nothing was done with an account.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// No such account.
    #[error("{0}: `token-broker integrations list` shows the connected accounts")]
    Unknown(String),
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

impl Broker {
    /// The accounts, by owner and address; only the owner's where one is given.
    pub fn accounts(&self, owner: Option<&OwnerId>) -> Vec<AccountView> {
        let world = self.world();
        let wanted = |account: &&Account| owner.is_none_or(|owner| account.record.owner == *owner);
        let mut views: Vec<_> = world
            .accounts
            .values()
            .map(Box::as_ref)
            .filter(wanted)
            .map(|account| self.account_view(&world, account))
            .collect();
        let order = |view: &AccountView| {
            let record = &view.record;
            (record.owner.clone(), record.account.clone(), record.id.clone())
        };
        views.sort_by_cached_key(order);
        views
    }

    /// The state of each account.
    pub fn account_states(&self) -> Vec<super::AgentState> {
        let world = self.world();
        world
            .accounts
            .values()
            .map(|account| self.standing(&world, account).0)
            .collect()
    }

    /// How many accounts there are.
    pub fn account_count(&self) -> usize {
        self.world().accounts.len()
    }

    /// One account.
    pub fn account(&self, which: &AccountRef) -> Result<AccountView, AccountError> {
        let world = self.world();
        let account = find(&world, which)?;
        Ok(self.account_view(&world, account))
    }

    /// Like [`Broker::check_account`], as often as `asker` may have that done.
    ///
    /// # Errors
    /// [`AccountError::TooOften`], beside those of a check.
    pub async fn check_account_for(
        self: &Arc<Self>,
        which: &AccountRef,
        asker: Asker,
    ) -> Result<AccountView, AccountError> {
        let record = find(&self.world(), which)?.record.clone();
        let counted = self
            .asks
            .count_check((&record.id, &record.owner), asker, self.clock.uptime());
        counted.map_err(AccountError::TooOften)?;
        self.check_account(&AccountRef::Id(record.id)).await
    }

    /// Asks the provider now whether the grant still works; also that of an account which the provider disabled.
    pub async fn check_account(self: &Arc<Self>, which: &AccountRef) -> Result<AccountView, AccountError> {
        let id = find(&self.world(), which)?.record.id.clone();
        self.restore(&id).await?;
        let (key, healthy) = {
            let world = self.world();
            let record = &find(&world, &AccountRef::Id(id))?.record;
            let used = world
                .slots_of(&record.id)
                .find(|(_, slot)| !slot.users.is_empty())
                .map(|(key, _)| key);
            // A token that agents use is worth more than one that nobody does; one request tells enough.
            let key = used.unwrap_or_else(|| TokenKey {
                integration: record.id.clone(),
                scopes: record.scopes.clone(),
            });
            (key, record.health == Health::Active)
        };
        if healthy {
            // What it finds out is in the account's view.
            let _ = self.renew(&key).await;
        }
        self.account(&AccountRef::Id(key.integration))
    }

    /// How an account stands: what keeps it as a whole from working, otherwise what troubles its tokens.
    fn standing(&self, world: &World, account: &Account) -> (AgentState, String) {
        if let Some(refused) = refused(&self.around, account) {
            return refused;
        }
        let trouble = world
            .slots_of(&account.record.id)
            .find_map(|(_, slot)| slot.trouble.as_deref());
        match trouble {
            Some(trouble) => (state_of(trouble.kind), trouble.message.clone()),
            None if account.check_at.is_some() => {
                (AgentState::ProviderUnavailable, unchecked::sentence(account))
            }
            None => {
                let notice = ending::notice(account, self.uptime());
                (AgentState::Active, notice.unwrap_or_default())
            }
        }
    }

    pub(super) fn account_view(&self, world: &World, account: &Account) -> AccountView {
        let record = account.record.clone();
        let standing = self.standing(world, account);
        let agents = agents_on(world, &self.around, account);
        let standings = self.standings(world, account, &agents);
        let ends_soon = ending::notice(account, self.uptime()).is_some();
        let action_url = agents
            .iter()
            .filter_map(|name| world.agents.get(name))
            .find(|_| {
                record.kind == IntegrationKind::Google && (record.health != Health::Active || ends_soon)
            })
            .map(|entry| action_url(&self.around, &entry.manifest));
        let capabilities = self.around.catalog.covered_by(record.kind, &record.scopes);
        AccountView {
            record,
            standing,
            capabilities,
            standings,
            agents_by_former: agents_by_former(world, &self.around, account),
            agents,
            ends_soon,
            action_url,
        }
    }

    fn standings(&self, world: &World, account: &Account, agents: &[AgentName]) -> Vec<CapabilityStanding> {
        let mut wanted: BTreeMap<&CapabilityKey, Vec<AgentName>> = BTreeMap::new();
        for name in agents {
            let entry = world.agents.get(name);
            for requirement in entry.into_iter().flat_map(|entry| &entry.manifest.integrations) {
                wanted.entry(&requirement.key).or_default().push(name.clone());
            }
        }
        let record = &account.record;
        let one = |capability: &Capability| {
            let agents = wanted.get(&capability.key);
            let (state, satisfied_by) = match self.catalog().coverage(capability, &record.scopes) {
                Coverage::Own => (CapabilityState::Granted, None),
                Coverage::Wider(wider) => (CapabilityState::Satisfied, Some(wider.key.clone())),
                Coverage::None if record.declined.contains(&capability.key) => {
                    (CapabilityState::Declined, None)
                }
                Coverage::None => (agents.map(|_| CapabilityState::Missing)?, None),
            };
            let is_granted = matches!(state, CapabilityState::Granted | CapabilityState::Satisfied);
            let lacks = |name: &&AgentName| is_granted && lacks(world, name, &capability.key);
            Some(CapabilityStanding {
                key: capability.key.clone(),
                state,
                satisfied_by,
                lacking: agents.into_iter().flatten().filter(lacks).cloned().collect(),
                agents: agents.cloned().unwrap_or_default(),
            })
        };
        let of_this_kind = |c: &&Capability| c.integration == record.kind;
        self.catalog()
            .iter()
            .filter(of_this_kind)
            .filter_map(one)
            .collect()
    }
}

/// Whether an agent is told that it does not have what it declares.
fn lacks(world: &World, name: &AgentName, key: &CapabilityKey) -> bool {
    let entry = world.agents.get(name);
    entry.is_some_and(|entry| {
        let snapshot = entry.handle.snapshot();
        let mut statuses = snapshot.capabilities.iter();
        statuses.any(|status| status.key == *key && !status.granted)
    })
}
