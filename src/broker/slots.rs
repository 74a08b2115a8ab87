//! The tokens of each account, and who uses them.

use std::{collections::HashMap, sync::Arc};

use super::{snapshot::IssuedToken, world::TokenKey};
use crate::{
    budget::Share,
    catalog::ScopeSet,
    clock::Uptime,
    google::FailureKind,
    id::{AgentName, IntegrationId},
};

/// What lacked when a token could not be obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The provider, for a while.
    Provider,
    /// The database.
    Store,
    /// Something of this token or account alone.
    Other,
}

/// Why a token could not be obtained.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) kind: FailureKind,
    pub(super) cause: Cause,
    pub(super) message: String,
    pub(super) failures: u32,
    pub(super) retry_at: Uptime,
    /// When the pause was shortened last, since it went well elsewhere.
    pub(super) hastened_at: Option<Uptime>,
    /// The renewal that met it goes on by itself: who asks would only wait for it.
    pub(super) under_way: bool,
}

/// A token, or the place for one.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) token: Option<Arc<IssuedToken>>,
    /// The agents that it is renewed for. Without any it is kept until it expires.
    pub(super) users: Vec<AgentName>,
    pub(super) trouble: Option<Box<Trouble>>,
    /// The token is of a grant that was replaced: it works, and is renewed at once all the same.
    pub(super) superseded: bool,
    /// When an agent said last that an API refused the token.
    pub(super) refused_at: Option<Uptime>,
    /// The place of a narrowed token, charged to the agent that asked for it first.
    pub(super) place: Option<Share<AgentName>>,
}

impl Slot {
    pub(super) fn add_user(&mut self, agent: AgentName) {
        self.place = None;
        if self.users.is_empty() {
            // Most have one: room for more would be a waste.
            self.users.reserve_exact(1);
        }
        self.users.push(agent);
    }
}

/// Slots by account, each account's sorted by what was asked for. Most accounts have one.
#[derive(Default)]
pub(super) struct Slots(HashMap<IntegrationId, Vec<(ScopeSet, Slot)>>);

impl Slots {
    pub(super) fn get(&self, key: &TokenKey) -> Option<&Slot> {
        self.in_account(&key.integration)
            .iter()
            .find_map(|(scopes, slot)| (*scopes == key.scopes).then_some(slot))
    }

    pub(super) fn get_mut(&mut self, key: &TokenKey) -> Option<&mut Slot> {
        self.0
            .get_mut(&key.integration)?
            .iter_mut()
            .find_map(|(scopes, slot)| (*scopes == key.scopes).then_some(slot))
    }

    pub(super) fn contains_key(&self, key: &TokenKey) -> bool {
        self.get(key).is_some()
    }

    /// The slot, which comes to be if need be.
    pub(super) fn make(&mut self, key: &TokenKey) -> &mut Slot {
        let slots = self.0.entry(key.integration.clone()).or_default();
        let index = match slots.binary_search_by(|(scopes, _)| scopes.cmp(&key.scopes)) {
            Ok(index) => index,
            Err(index) => {
                if slots.is_empty() {
                    slots.reserve_exact(1);
                }
                slots.insert(index, (key.scopes.clone(), Slot::default()));
                index
            }
        };
        &mut slots[index].1
    }

    pub(super) fn remove(&mut self, key: &TokenKey) {
        if let Some(slots) = self.0.get_mut(&key.integration) {
            slots.retain(|(scopes, _)| *scopes != key.scopes);
            if slots.is_empty() {
                self.0.remove(&key.integration);
            }
        }
    }

    /// The slots of an account.
    pub(super) fn of<'a>(&'a self, id: &'a IntegrationId) -> impl Iterator<Item = (TokenKey, &'a Slot)> {
        self.in_account(id).iter().map(|(scopes, slot)| {
            let key = TokenKey {
                integration: id.clone(),
                scopes: scopes.clone(),
            };
            (key, slot)
        })
    }

    /// All slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TokenKey, &Slot)> {
        self.0.keys().flat_map(|id| self.of(id))
    }

    fn in_account(&self, id: &IntegrationId) -> &[(ScopeSet, Slot)] {
        self.0.get(id).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(digit: u8, scopes: &str) -> TokenKey {
        TokenKey {
            integration: format!("int_{digit:020x}").parse().unwrap(),
            scopes: ScopeSet::parse(scopes).unwrap(),
        }
    }

    #[test]
    fn slots_are_told_apart_by_account_and_scopes() {
        let mut slots = Slots::default();
        for key in [key(1, "b"), key(1, "a"), key(2, "a"), key(1, "b")] {
            slots.make(&key).add_user("bot".parse().unwrap());
        }
        assert_eq!(slots.get(&key(1, "b")).unwrap().users.len(), 2);
        assert!(!slots.contains_key(&key(2, "b")));
        let first = key(1, "a").integration;
        let of_first: Vec<_> = slots.of(&first).map(|(key, _)| key).collect();
        assert_eq!(of_first, [key(1, "a"), key(1, "b")]);
        slots.get_mut(&key(2, "a")).unwrap().superseded = true;
        slots.remove(&key(1, "a"));
        assert!(slots.get(&key(1, "a")).is_none());
        assert!(slots.get(&key(1, "b")).is_some() && slots.get(&key(2, "a")).unwrap().superseded);
        slots.remove(&key(1, "b"));
        assert_eq!(slots.0.len(), 1, "an account without slots takes no room");
    }
}
