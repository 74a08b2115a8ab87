//! The tokens of each account, and who uses them.

use std::{collections::HashMap, sync::Arc};

use crate::{
    budget::Share,
    capability::ScopeSet,
    clock::Uptime,
    id::{AgentName, IntegrationId},
    provider::Remedy,
    registry::{keys::TokenKey, renewal_fault::RenewalFault, snapshot::IssuedToken},
};

/// What lacked when a token could not be obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The provider, for a while.
    Provider,
    /// The database.
    Store,
    /// Something of this token or account alone.
    Other,
}

/// Why a token could not be obtained.
#[derive(Debug, Clone)]
pub(crate) struct LastFailure {
    pub(crate) kind: Remedy,
    pub(crate) cause: Cause,
    pub(crate) fault: RenewalFault,
    pub(crate) failures: u32,
    pub(crate) retry_at: Uptime,
    /// When the pause was shortened last, since it went well elsewhere.
    pub(crate) hastened_at: Option<Uptime>,
    /// The renewal that met it goes on by itself: who asks would only wait for it.
    pub(crate) under_way: bool,
}

/// A token, or the place for one.
#[derive(Default)]
pub(crate) struct TokenEntry {
    pub(crate) token: Option<Arc<IssuedToken>>,
    /// The agents that it is renewed for. Without any it is kept until it expires.
    pub(crate) users: Vec<AgentName>,
    pub(crate) last_failure: Option<Box<LastFailure>>,
    /// The token is of a grant that was replaced: it works, and is renewed at once all the same.
    pub(crate) superseded: bool,
    /// When an agent said last that an API refused the token.
    pub(crate) refused_at: Option<Uptime>,
    /// The place of a narrowed token, charged to the agent that asked for it first.
    pub(crate) place: Option<Share<AgentName>>,
}

impl TokenEntry {
    pub(crate) fn add_user(&mut self, agent: AgentName) {
        self.place = None;
        if self.users.is_empty() {
            // Most have one: room for more would be a waste.
            self.users.reserve_exact(1);
        }
        self.users.push(agent);
    }
}

/// Tokens by account, each account's sorted by what was asked for. Most accounts have one.
#[derive(Default)]
pub(crate) struct TokenEntries(HashMap<IntegrationId, Vec<(ScopeSet, TokenEntry)>>);

impl TokenEntries {
    pub(crate) fn get(&self, key: &TokenKey) -> Option<&TokenEntry> {
        self.in_account(&key.integration)
            .iter()
            .find_map(|(scopes, token_entry)| (*scopes == key.scopes).then_some(token_entry))
    }

    pub(crate) fn get_mut(&mut self, key: &TokenKey) -> Option<&mut TokenEntry> {
        self.0
            .get_mut(&key.integration)?
            .iter_mut()
            .find_map(|(scopes, token_entry)| (*scopes == key.scopes).then_some(token_entry))
    }

    pub(crate) fn contains_key(&self, key: &TokenKey) -> bool {
        self.get(key).is_some()
    }

    /// The entry, which is made if there is none.
    pub(crate) fn make(&mut self, key: &TokenKey) -> &mut TokenEntry {
        let tokens = self.0.entry(key.integration.clone()).or_default();
        let index = match tokens.binary_search_by(|(scopes, _)| scopes.cmp(&key.scopes)) {
            Ok(index) => index,
            Err(index) => {
                if tokens.is_empty() {
                    tokens.reserve_exact(1);
                }
                tokens.insert(index, (key.scopes.clone(), TokenEntry::default()));
                index
            }
        };
        &mut tokens[index].1
    }

    pub(crate) fn remove(&mut self, key: &TokenKey) {
        if let Some(tokens) = self.0.get_mut(&key.integration) {
            tokens.retain(|(scopes, _)| *scopes != key.scopes);
            if tokens.is_empty() {
                self.0.remove(&key.integration);
            }
        }
    }

    /// The tokens of an account.
    pub(crate) fn of<'a>(
        &'a self,
        id: &'a IntegrationId,
    ) -> impl Iterator<Item = (TokenKey, &'a TokenEntry)> {
        self.in_account(id).iter().map(|(scopes, token_entry)| {
            let key = TokenKey {
                integration: id.clone(),
                scopes: scopes.clone(),
            };
            (key, token_entry)
        })
    }

    /// All tokens.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TokenKey, &TokenEntry)> {
        self.0.keys().flat_map(|id| self.of(id))
    }

    fn in_account(&self, id: &IntegrationId) -> &[(ScopeSet, TokenEntry)] {
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
        let mut tokens = TokenEntries::default();
        for key in [key(1, "b"), key(1, "a"), key(2, "a"), key(1, "b")] {
            tokens.make(&key).add_user("bot".parse().unwrap());
        }
        assert_eq!(tokens.get(&key(1, "b")).unwrap().users.len(), 2);
        assert!(!tokens.contains_key(&key(2, "b")));
        let first = key(1, "a").integration;
        let of_first: Vec<_> = tokens.of(&first).map(|(key, _)| key).collect();
        assert_eq!(of_first, [key(1, "a"), key(1, "b")]);
        tokens.get_mut(&key(2, "a")).unwrap().superseded = true;
        tokens.remove(&key(1, "a"));
        assert!(tokens.get(&key(1, "a")).is_none());
        assert!(tokens.get(&key(1, "b")).is_some() && tokens.get(&key(2, "a")).unwrap().superseded);
        tokens.remove(&key(1, "b"));
        assert_eq!(tokens.0.len(), 1, "an account without tokens takes no room");
    }
}
