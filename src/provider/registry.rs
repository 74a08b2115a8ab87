//! The providers there are.

use std::sync::Arc;

use super::{
    profile::Profile,
    seam::{AssertionProvider, ConsentProvider},
};
use crate::id::ProviderId;

/// One provider: what it says of itself, what its accounts belong to, and whom tokens are asked of.
#[derive(Clone)]
pub struct Provider {
    /// What it says of itself.
    pub profile: Arc<Profile>,
    /// The OAuth client and token endpoint that its grants belong to, such as
    /// `https://oauth2.googleapis.com/token#<client_id>`, or what its keys belong to. An account of another one is never
    /// sent here.
    pub issuer_binding: Arc<str>,
    /// Whom tokens are asked of.
    pub tokens: TokenSource,
}

/// How tokens are obtained.
#[derive(Clone)]
pub enum TokenSource {
    /// With refresh tokens of people who consented.
    Consent(Arc<dyn ConsentProvider>),
    /// With keys that sign.
    Key(Arc<dyn AssertionProvider>),
}

impl Provider {
    /// Its key.
    pub fn id(&self) -> &ProviderId {
        &self.profile.id
    }

    /// Whom consents are asked of, where people consent.
    pub fn consent(&self) -> Option<&Arc<dyn ConsentProvider>> {
        match &self.tokens {
            TokenSource::Consent(provider) => Some(provider),
            TokenSource::Key(_) => None,
        }
    }

    /// Who reads and uses keys, where there are keys.
    pub fn keys(&self) -> Option<&Arc<dyn AssertionProvider>> {
        match &self.tokens {
            TokenSource::Consent(_) => None,
            TokenSource::Key(provider) => Some(provider),
        }
    }
}

/// All providers, in the order in which people see them. The first is meant where nobody says which.
pub struct Providers(Vec<Provider>);

impl Providers {
    /// These, of which there is at least one.
    ///
    /// # Panics
    /// Without any.
    pub fn new(providers: Vec<Provider>) -> Self {
        assert!(
            !providers.is_empty(),
            "the first provider is the one that is meant"
        );
        Self(providers)
    }

    /// The one that is meant where nobody says which.
    pub fn first(&self) -> &Provider {
        &self.0[0]
    }

    /// The one with this key.
    pub fn get(&self, id: &ProviderId) -> Option<&Provider> {
        self.named(id.as_str())
    }

    /// The one whose key this text is.
    pub fn named(&self, name: &str) -> Option<&Provider> {
        self.iter().find(|provider| provider.id().as_str() == name)
    }

    /// The one that grants belong to which are bound in this way.
    pub fn bound_to(&self, issuer_binding: &str) -> Option<&Provider> {
        self.iter()
            .find(|provider| *provider.issuer_binding == *issuer_binding)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.0.iter()
    }

    /// Their keys, as a sentence lists them.
    pub fn names(&self) -> Vec<&str> {
        self.iter().map(|provider| provider.id().as_str()).collect()
    }
}
