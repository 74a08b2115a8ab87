//! What tokens are kept under, and which of them an agent uses.

use std::hash::{Hash, Hasher};

use crate::{
    capability::ScopeSet,
    id::{IntegrationId, ProviderId},
};

/// What a token is kept under: the account, and literally what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TokenKey {
    pub(crate) integration: IntegrationId,
    pub(crate) scopes: ScopeSet,
}

/// By the account alone: it has few scope sets, and their text is long.
impl Hash for TokenKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.integration.hash(state);
    }
}

/// The tokens that an agent uses: one per provider at most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Keys(Box<[(ProviderId, TokenKey)]>);

impl Keys {
    /// The one of this provider.
    pub(crate) fn of(&self, provider: &ProviderId) -> Option<&TokenKey> {
        let found = self.0.iter().find(|(known, _)| known == provider);
        found.map(|(_, key)| key)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &TokenKey> {
        self.0.iter().map(|(_, key)| key)
    }
}

impl FromIterator<(ProviderId, TokenKey)> for Keys {
    fn from_iter<I: IntoIterator<Item = (ProviderId, TokenKey)>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}
