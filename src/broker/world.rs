//! What the broker knows: agents, accounts, tokens, and who uses which.
//!
//! The world is plain data behind one mutex that is held for moments only, never across an `await`. Agents
//! read their handles and do not touch it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{Hash, Hasher},
    path::Path,
    sync::Arc,
};

use super::{
    ending::Ending,
    handle::AgentHandle,
    leaving::Leaving,
    slots::{Slot, Slots},
};
use crate::{
    agent::{Manifest, ManifestFile},
    budget::Pace,
    catalog::{IntegrationKind, ScopeSet},
    clock::{Moment, Uptime},
    id::{AgentName, IntegrationId, OwnerId},
    store::IntegrationRecord,
};

/// What a token is kept under: the account, and literally what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TokenKey {
    pub(super) integration: IntegrationId,
    pub(super) scopes: ScopeSet,
}

/// By the account alone: it has few scope sets, and their text is long.
impl Hash for TokenKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.integration.hash(state);
    }
}

/// The tokens that an agent uses: one per kind of account at most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Keys {
    /// The person's account.
    person: Option<TokenKey>,
    /// The service account. Boxed: few agents use one.
    service: Option<Box<TokenKey>>,
}

impl Keys {
    /// The one of this kind of account.
    pub(super) fn of(&self, kind: IntegrationKind) -> Option<&TokenKey> {
        match kind {
            IntegrationKind::Google => self.person.as_ref(),
            IntegrationKind::GoogleServiceAccount => self.service.as_deref(),
        }
    }

    /// Sets the one of this kind of account.
    pub(super) fn set(&mut self, kind: IntegrationKind, key: Option<TokenKey>) {
        match kind {
            IntegrationKind::Google => self.person = key,
            IntegrationKind::GoogleServiceAccount => self.service = key.map(Box::new),
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &TokenKey> {
        self.person.iter().chain(self.service.as_deref())
    }
}

/// Where an agent was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSource {
    /// In a file of `agents.d`.
    File(Arc<Path>),
    /// Over the API.
    Api,
}

/// How an agent stands to its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The name is its own.
    Settled,
    /// Somebody else held the name before, and may still have something of it: nobody but the operator finds it.
    Arriving,
    /// It was there when a daemon ran last, and what it declared cannot be read: it keeps what it has, without a token.
    Kept,
}

/// An agent.
pub(super) struct AgentEntry {
    pub(super) handle: Arc<AgentHandle>,
    pub(super) manifest: Arc<Manifest>,
    pub(super) source: AgentSource,
    pub(super) standing: Standing,
    /// The tokens it uses.
    pub(super) keys: Keys,
}

impl AgentEntry {
    pub(super) fn is_arriving(&self) -> bool {
        self.standing == Standing::Arriving
    }

    pub(super) fn is_kept(&self) -> bool {
        self.standing == Standing::Kept
    }
}

/// A connected account.
pub(super) struct Account {
    pub(super) record: IntegrationRecord,
    /// When its grant ends by itself, where the provider said so.
    pub(super) ending: Option<Ending>,
    /// One request to the provider at a time: a refresh token that rotates must not be presented twice.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    /// What its agents may still ask for in the pause after a failure.
    pub(super) tries_on_demand: Pace,
    /// It is of a database that was put back, and the provider has given no token for it since: when it is asked for one.
    pub(super) check_at: Option<Uptime>,
    /// The key that the queue has sent on its way.
    pub(super) sent: Option<TokenKey>,
    /// Keys that came due while another had the turn. They wait here, so that an account whose provider is slow
    /// holds one place among the renewals that run at once, not all of them.
    pub(super) parked: BTreeSet<TokenKey>,
}

impl Account {
    /// The key waits for its turn or has it.
    pub(super) fn is_on_its_way(&self, key: &TokenKey) -> bool {
        self.sent.as_ref() == Some(key) || self.parked.contains(key)
    }
}

/// What each owner has, sorted. Most have one.
struct Owned<T>(HashMap<OwnerId, Vec<T>>);

impl<T> Default for Owned<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Ord> Owned<T> {
    fn of(&self, owner: &OwnerId) -> &[T] {
        self.0.get(owner).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, owner: &OwnerId, item: T) {
        let Some(items) = self.0.get_mut(owner) else {
            self.0.insert(owner.clone(), vec![item]);
            return;
        };
        if let Err(place) = items.binary_search(&item) {
            items.insert(place, item);
        }
    }

    fn remove(&mut self, owner: &OwnerId, item: &T) {
        let Some(items) = self.0.get_mut(owner) else {
            return;
        };
        if let Ok(place) = items.binary_search(item) {
            items.remove(place);
        }
        if items.is_empty() {
            self.0.remove(owner);
        }
    }
}

/// All of it.
#[derive(Default)]
pub(super) struct World {
    pub(super) agents: BTreeMap<AgentName, AgentEntry>,
    /// Boxed: a table is half empty, and accounts are large.
    pub(super) accounts: HashMap<IntegrationId, Box<Account>>,
    pub(super) slots: Slots,
    /// Agents that are gone and whose directory may not be cleared yet.
    pub(super) leaving: Leaving,
    /// What is wrong with the files of the folder, one sentence each.
    pub(super) unreadable: Vec<String>,
    /// Manifests of files that are not followed because an agent of that name came over the API.
    pub(super) waiting: BTreeMap<AgentName, Arc<ManifestFile>>,
    /// Agents from before the start that may be declared in what cannot be read: nothing of theirs is touched.
    pub(super) spared: BTreeSet<AgentName>,
    agents_of: Owned<AgentName>,
    accounts_of: Owned<IntegrationId>,
}

impl World {
    /// Adds an agent or replaces it.
    pub(super) fn insert_agent(&mut self, entry: AgentEntry) {
        let name = entry.manifest.agent.clone();
        self.remove_agent(&name);
        self.agents_of.add(&entry.manifest.owner, name.clone());
        self.agents.insert(name, entry);
    }

    /// Takes an agent out.
    pub(super) fn remove_agent(&mut self, name: &AgentName) -> Option<AgentEntry> {
        let entry = self.agents.remove(name)?;
        self.agents_of.remove(&entry.manifest.owner, name);
        Some(entry)
    }

    /// The owner's agents.
    pub(super) fn agents_of(&self, owner: &OwnerId) -> Vec<AgentName> {
        self.agents_of.of(owner).to_vec()
    }

    /// Adds an account, or replaces what is known of it; its turn is kept, so that nobody passes a request
    /// that is under way, and so are those who wait for it.
    pub(super) fn insert_account(&mut self, record: IntegrationRecord, now: Moment) {
        let ending = Ending::of(&record, now);
        self.accounts_of.add(&record.owner, record.id.clone());
        if let Some(account) = self.accounts.get_mut(&record.id) {
            account.record = record;
            account.check_at = None;
            account.ending = ending;
            return;
        }
        let account = Account {
            record,
            ending,
            turn: Arc::default(),
            tries_on_demand: Pace::default(),
            check_at: None,
            sent: None,
            parked: BTreeSet::new(),
        };
        self.accounts.insert(account.record.id.clone(), Box::new(account));
    }

    /// Takes an account out.
    pub(super) fn remove_account(&mut self, id: &IntegrationId) -> Option<Account> {
        let account = self.accounts.remove(id)?;
        self.accounts_of.remove(&account.record.owner, id);
        Some(*account)
    }

    /// The owner's accounts of one kind.
    pub(super) fn accounts_of_kind<'a>(
        &'a self,
        owner: &OwnerId,
        kind: IntegrationKind,
    ) -> impl Iterator<Item = &'a Account> + use<'a> {
        self.accounts_of(owner)
            .filter(move |account| account.record.kind == kind)
    }

    /// The owner's accounts.
    pub(super) fn accounts_of<'a>(&'a self, owner: &OwnerId) -> impl Iterator<Item = &'a Account> + use<'a> {
        let ids = self.accounts_of.of(owner);
        ids.iter().filter_map(|id| self.accounts.get(id).map(Box::as_ref))
    }

    /// The slots of an account.
    pub(super) fn slots_of<'a>(
        &'a self,
        id: &'a IntegrationId,
    ) -> impl Iterator<Item = (TokenKey, &'a Slot)> {
        self.slots.of(id)
    }

    /// The keys of an account's slots.
    pub(super) fn keys_of(&self, id: &IntegrationId) -> Vec<TokenKey> {
        self.slots_of(id).map(|(key, _)| key).collect()
    }

    /// Makes `agent` a user of `keys` instead of what it used before. The keys that have no user any more.
    pub(super) fn assign(&mut self, agent: &AgentName, keys: &Keys) -> Vec<TokenKey> {
        let Some(entry) = self.agents.get_mut(agent).filter(|entry| entry.keys != *keys) else {
            return Vec::new();
        };
        let before = std::mem::replace(&mut entry.keys, keys.clone());
        let is_in = |keys: &Keys, wanted: &TokenKey| keys.iter().any(|key| key == wanted);
        for key in keys.iter().filter(|key| !is_in(&before, key)) {
            self.slots.make(key).add_user(agent.clone());
        }
        let left = before.iter().filter(|key| !is_in(keys, key));
        left.filter_map(|key| self.leave(agent, key.clone())).collect()
    }

    /// Forgets a slot that holds nothing for nobody.
    pub(super) fn tidy(&mut self, key: &TokenKey) {
        let empty = |slot: &Slot| slot.users.is_empty() && slot.token.is_none() && slot.trouble.is_none();
        if self.slots.get(key).is_some_and(empty) {
            self.slots.remove(key);
        }
    }

    /// Takes `agent` out of the users of `key`. The key, when it has no user any more.
    pub(super) fn leave(&mut self, agent: &AgentName, key: TokenKey) -> Option<TokenKey> {
        let slot = self.slots.get_mut(&key)?;
        if let Some(index) = slot.users.iter().position(|user| user == agent) {
            slot.users.swap_remove(index);
        }
        if !slot.users.is_empty() {
            return None;
        }
        if slot.token.is_none() && slot.trouble.is_none() {
            self.slots.remove(&key);
        }
        Some(key)
    }
}
