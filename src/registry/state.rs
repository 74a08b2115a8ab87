//! What the broker knows: agents, accounts, tokens, and who uses which.
//!
//! The registry is plain data behind one mutex that is held for moments only, never across an `await`. Agents
//! read their handles and do not touch it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    budget::Pace,
    clock::{Moment, Uptime},
    id::{AgentName, IntegrationId, OwnerId, ProviderId},
    manifest::{Manifest, ManifestFile},
    registry::{
        ending::Ending,
        handle::AgentHandle,
        keys::{Keys, TokenKey},
        leaving::Leaving,
        tokens::{TokenEntries, TokenEntry},
    },
    store::IntegrationRecord,
};

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
pub(crate) enum Standing {
    /// The name is its own.
    Settled,
    /// Somebody else held the name before, and may still have something of it: nobody but the operator finds it.
    Arriving,
    /// It was there when a daemon ran last, and what it declared cannot be read: it keeps what it has, without a token.
    Kept,
}

/// An agent.
pub(crate) struct AgentEntry {
    pub(crate) handle: Arc<AgentHandle>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) source: AgentSource,
    pub(crate) standing: Standing,
    /// The tokens it uses.
    pub(crate) keys: Keys,
}

impl AgentEntry {
    pub(crate) fn is_arriving(&self) -> bool {
        self.standing == Standing::Arriving
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.standing == Standing::Kept
    }
}

/// A connected account.
pub(crate) struct Account {
    pub(crate) record: IntegrationRecord,
    /// When its grant ends by itself, where the provider said so.
    pub(crate) ending: Option<Ending>,
    /// One request to the provider at a time: a refresh token that rotates must not be presented twice.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    /// What its agents may still ask for in the pause after a failure.
    pub(crate) tries_on_demand: Pace,
    /// It is of a database that was put back, and the provider has given no token for it since: when it is asked for one.
    pub(crate) check_at: Option<Uptime>,
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

/// The registry, and the one lock on it. It is held for moments, and never across an `await`.
#[derive(Default)]
pub(crate) struct SharedRegistry(Mutex<Registry>);

impl SharedRegistry {
    /// Locks the registry.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Registry> {
        // A panic while it was held leaves plain data, each field whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All of it.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) agents: BTreeMap<AgentName, AgentEntry>,
    /// Boxed: a table is half empty, and accounts are large.
    pub(crate) accounts: HashMap<IntegrationId, Box<Account>>,
    pub(crate) tokens: TokenEntries,
    /// Agents that are gone and whose directory may not be cleared yet.
    pub(crate) leaving: Leaving,
    /// What is wrong with the files of the folder, one sentence each.
    pub(crate) unreadable: Vec<String>,
    /// Manifests of files that are not followed because an agent of that name came over the API.
    pub(crate) waiting: BTreeMap<AgentName, Arc<ManifestFile>>,
    /// Agents from before the start that may be declared in what cannot be read: nothing of theirs is touched.
    pub(crate) spared: BTreeSet<AgentName>,
    agents_of: Owned<AgentName>,
    accounts_of: Owned<IntegrationId>,
}

impl Registry {
    /// Adds an agent or replaces it.
    pub(crate) fn insert_agent(&mut self, entry: AgentEntry) {
        let name = entry.manifest.agent.clone();
        self.remove_agent(&name);
        self.agents_of.add(&entry.manifest.owner, name.clone());
        self.agents.insert(name, entry);
    }

    /// Takes an agent out.
    pub(crate) fn remove_agent(&mut self, name: &AgentName) -> Option<AgentEntry> {
        let entry = self.agents.remove(name)?;
        self.agents_of.remove(&entry.manifest.owner, name);
        Some(entry)
    }

    /// The owner's agents.
    pub(crate) fn agents_of(&self, owner: &OwnerId) -> Vec<AgentName> {
        self.agents_of.of(owner).to_vec()
    }

    /// Adds an account, or replaces what is known of it; its turn is kept, so that nobody passes a request
    /// that is under way.
    pub(crate) fn insert_account(&mut self, record: IntegrationRecord, now: Moment) {
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
        };
        self.accounts.insert(account.record.id.clone(), Box::new(account));
    }

    /// Takes an account out.
    pub(crate) fn remove_account(&mut self, id: &IntegrationId) -> Option<Account> {
        let account = self.accounts.remove(id)?;
        self.accounts_of.remove(&account.record.owner, id);
        Some(*account)
    }

    /// The owner's accounts at one provider.
    pub(crate) fn accounts_at<'a>(
        &'a self,
        owner: &OwnerId,
        provider: &ProviderId,
    ) -> impl Iterator<Item = &'a Account> + use<'a> {
        let provider = provider.clone();
        self.accounts_of(owner)
            .filter(move |account| account.record.provider == provider)
    }

    /// The owner's accounts.
    pub(crate) fn accounts_of<'a>(&'a self, owner: &OwnerId) -> impl Iterator<Item = &'a Account> + use<'a> {
        let ids = self.accounts_of.of(owner);
        ids.iter().filter_map(|id| self.accounts.get(id).map(Box::as_ref))
    }

    /// The tokens of an account.
    pub(crate) fn entries_of<'a>(
        &'a self,
        id: &'a IntegrationId,
    ) -> impl Iterator<Item = (TokenKey, &'a TokenEntry)> {
        self.tokens.of(id)
    }

    /// The keys of an account's tokens.
    pub(crate) fn keys_of(&self, id: &IntegrationId) -> Vec<TokenKey> {
        self.entries_of(id).map(|(key, _)| key).collect()
    }

    /// Makes `agent` a user of `keys` instead of what it used before. The keys that have no user any more.
    pub(crate) fn assign(&mut self, agent: &AgentName, keys: &Keys) -> Vec<TokenKey> {
        let Some(entry) = self.agents.get_mut(agent).filter(|entry| entry.keys != *keys) else {
            return Vec::new();
        };
        let before = std::mem::replace(&mut entry.keys, keys.clone());
        let is_in = |keys: &Keys, wanted: &TokenKey| keys.iter().any(|key| key == wanted);
        for key in keys.iter().filter(|key| !is_in(&before, key)) {
            self.tokens.make(key).add_user(agent.clone());
        }
        let left = before.iter().filter(|key| !is_in(keys, key));
        left.filter_map(|key| self.leave(agent, key.clone())).collect()
    }

    /// Forgets the entry of a token that nobody uses and of which nothing is known.
    pub(crate) fn tidy(&mut self, key: &TokenKey) {
        let empty = |token_entry: &TokenEntry| {
            token_entry.users.is_empty() && token_entry.token.is_none() && token_entry.last_failure.is_none()
        };
        if self.tokens.get(key).is_some_and(empty) {
            self.tokens.remove(key);
        }
    }

    /// Takes `agent` out of the users of `key`. The key, when it has no user any more.
    pub(crate) fn leave(&mut self, agent: &AgentName, key: TokenKey) -> Option<TokenKey> {
        let token_entry = self.tokens.get_mut(&key)?;
        if let Some(index) = token_entry.users.iter().position(|user| user == agent) {
            token_entry.users.swap_remove(index);
        }
        if !token_entry.users.is_empty() {
            return None;
        }
        if token_entry.token.is_none() && token_entry.last_failure.is_none() {
            self.tokens.remove(&key);
        }
        Some(key)
    }
}
