//! The providers there are.

use std::sync::Arc;

use url::Url;

use super::{
    failure::FailureTable,
    profile::Profile,
    seam::{AssertionProvider, ConsentProvider},
};
use crate::{id::ProviderId, jws::same_issuer, text::sentence::capitalized};

/// One provider: what it says of itself, what its accounts belong to, and whom tokens are asked of.
#[derive(Clone)]
pub struct Provider {
    /// What it says of itself.
    pub profile: Arc<Profile>,
    /// The OAuth client and token endpoint that its grants belong to, such as
    /// `https://oauth2.googleapis.com/token#<client_id>`, or what its keys belong to. An account of another one is never
    /// sent here.
    pub issuer_binding: Arc<str>,
    /// An address at each of its servers. Any answer there shows that the server can be reached.
    pub servers: Vec<Url>,
    /// What its refusals mean.
    pub failures: FailureTable,
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

    /// Whether what is bound in this way came from the server that this is, whatever the client: its accounts are this one's.
    pub fn issues_for(&self, issuer_binding: &str) -> bool {
        same_issuer(issuer_of(issuer_binding), issuer_of(&self.issuer_binding))
    }

    /// The server that what is bound in this way came from, as people know it.
    pub(crate) fn server_of(&self, issuer_binding: &str) -> String {
        let issuer = issuer_of(issuer_binding);
        let consent = self.consent();
        consent.map_or_else(|| issuer.to_owned(), |consent| consent.server_of(issuer))
    }

    /// Who reads and uses keys, where there are keys.
    pub fn keys(&self) -> Option<&Arc<dyn AssertionProvider>> {
        match &self.tokens {
            TokenSource::Consent(_) => None,
            TokenSource::Key(provider) => Some(provider),
        }
    }
}

/// The issuer or token endpoint in a binding, without the client.
fn issuer_of(issuer_binding: &str) -> &str {
    issuer_binding
        .split_once('#')
        .map_or(issuer_binding, |(issuer, _)| issuer)
}

/// A provider, where there are several and it is not said which.
pub(crate) const SOME_PROVIDER: &str = "the provider";

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

    /// Who runs the one with this key, for people; the key, where it is not configured any more.
    pub fn name_of(&self, id: &ProviderId) -> String {
        let known = self.get(id);
        known.map_or_else(|| id.to_string(), |provider| provider.profile.name.clone())
    }

    /// Whether people know the one with this key by this name, as [`Self::name_of`] tells it.
    pub fn is_run_by(&self, id: &ProviderId, name: &str) -> bool {
        let known = self.get(id);
        known.map_or(id.as_str(), |provider| &provider.profile.name) == name
    }

    /// What an account at the one with this key is called: `Google account`.
    pub fn account_at(&self, id: &ProviderId) -> String {
        let known = self.get(id);
        known.map_or_else(
            || "account".to_owned(),
            |provider| provider.profile.account.clone(),
        )
    }

    /// Who runs the one that grants belong to which are bound in this way, as a sentence begins.
    pub fn name_of_binding(&self, issuer_binding: &str) -> String {
        let known = self.bound_to(issuer_binding);
        known.map_or_else(
            || capitalized(SOME_PROVIDER),
            |provider| provider.profile.name.clone(),
        )
    }

    /// What is said of all of them: what the first says of itself, where one runs all.
    pub fn common(&self) -> Option<&Profile> {
        let first = &*self.first().profile;
        let all = self.iter().all(|provider| provider.profile.name == first.name);
        all.then_some(first)
    }

    /// Who runs all of them, for people; `the provider`, where that is not one.
    pub fn common_name(&self) -> &str {
        self.common().map_or(SOME_PROVIDER, |profile| &profile.name)
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
