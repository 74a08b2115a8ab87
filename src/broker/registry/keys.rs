//! What tokens are kept under, and which of them an agent uses.

use std::hash::{Hash, Hasher};

use crate::{
    catalog::{IntegrationKind, ScopeSet},
    id::IntegrationId,
};

/// What a token is kept under: the account, and literally what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::broker) struct TokenKey {
    pub(in crate::broker) integration: IntegrationId,
    pub(in crate::broker) scopes: ScopeSet,
}

/// By the account alone: it has few scope sets, and their text is long.
impl Hash for TokenKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.integration.hash(state);
    }
}

/// The tokens that an agent uses: one per kind of account at most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::broker) struct Keys {
    /// The person's account.
    person: Option<TokenKey>,
    /// The service account. Boxed: few agents use one.
    service: Option<Box<TokenKey>>,
}

impl Keys {
    /// The one of this kind of account.
    pub(in crate::broker) fn of(&self, kind: IntegrationKind) -> Option<&TokenKey> {
        match kind {
            IntegrationKind::Google => self.person.as_ref(),
            IntegrationKind::GoogleServiceAccount => self.service.as_deref(),
        }
    }

    /// Sets the one of this kind of account.
    pub(in crate::broker) fn set(&mut self, kind: IntegrationKind, key: Option<TokenKey>) {
        match kind {
            IntegrationKind::Google => self.person = key,
            IntegrationKind::GoogleServiceAccount => self.service = key.map(Box::new),
        }
    }

    /// All of them.
    pub(in crate::broker) fn iter(&self) -> impl Iterator<Item = &TokenKey> {
        self.person.iter().chain(self.service.as_deref())
    }
}
