//! What an agent may be shown of its snapshot at one moment.

use std::{
    borrow::Cow,
    fmt::Write,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use aws_lc_rs::digest;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{
    document::{Capability, Credential, Document, Status, TokenView},
    plain::{is_bearer_token, is_plain_value},
    render::json,
};
use crate::{
    broker::{AgentSnapshot, AgentState, CredentialView, IssuedToken},
    clock::{Moment, Uptime},
    id::{CapabilityKey, ProviderId},
    provider::AccountField,
};

/// What an agent's files and streams may show at one moment.
///
/// It differs from the snapshot where the snapshot alone would mislead: a token that has expired since, or
/// one that no env file can carry.
pub(crate) struct View<'a> {
    snapshot: &'a AgentSnapshot,
    now: Moment,
    /// The agent's state.
    pub(crate) state: AgentState,
    /// A sentence a person can act on; empty when all is well.
    pub(crate) message: &'a str,
    /// Tokens may be shown.
    shows_tokens: bool,
}

/// The words for a token that cannot be written.
const UNSAFE_TOKEN: &str = "The provider's token holds characters that RFC 6750 does not allow, so it was not \
                            delivered: check the provider's endpoint in the configuration.";
/// The words for an active agent whose token expired before its successor came.
const NO_TOKEN: &str = "There is no living token at the moment; a new one is being obtained.";

impl<'a> View<'a> {
    /// What may be shown of `snapshot` at `now`.
    pub(crate) fn new(snapshot: &'a AgentSnapshot, now: Moment) -> Self {
        let may_hold = matches!(
            snapshot.state,
            AgentState::Active | AgentState::ProviderUnavailable
        );
        let living = |view: &'a CredentialView| view.living_token(now.uptime).filter(|_| may_hold);
        let shown = || snapshot.credentials.iter().filter_map(living);
        // It was there when the snapshot was made, and the successor has not come.
        let expired = snapshot
            .credentials
            .iter()
            .any(|view| view.token.is_some() && living(view).is_none());
        let (state, message) = if shown().any(|token| !is_bearer_token(token.access_token.expose())) {
            (AgentState::Misconfigured, UNSAFE_TOKEN)
        } else if snapshot.state == AgentState::Active && (expired || shown().next().is_none()) {
            (AgentState::ProviderUnavailable, NO_TOKEN)
        } else {
            (snapshot.state, snapshot.message.as_str())
        };
        Self {
            snapshot,
            now,
            state,
            message,
            shows_tokens: may_hold && state != AgentState::Misconfigured,
        }
    }

    /// The main token, if it may be shown.
    pub(crate) fn token(&self) -> Option<&'a Arc<IssuedToken>> {
        self.shown(self.snapshot.main())
    }

    /// The token of this provider, if it may be shown.
    pub(crate) fn token_of(&self, provider: &ProviderId) -> Option<&'a Arc<IssuedToken>> {
        self.shown(self.snapshot.credential(provider)?)
    }

    /// Every token that may be shown.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = &'a Arc<IssuedToken>> {
        let credentials = self.snapshot.credentials.iter();
        credentials.filter_map(|view| self.shown(view))
    }

    fn shown(&self, view: &'a CredentialView) -> Option<&'a Arc<IssuedToken>> {
        view.living_token(self.now.uptime).filter(|_| self.shows_tokens)
    }

    /// All of it as data, with the project that the metadata protocol tells of where that is wanted.
    pub(crate) fn document(&self, project_id: Option<&'a str>) -> Document<'a> {
        let credentials = self.snapshot.credentials.iter();
        Document {
            status: self.status(),
            credentials: credentials.map(|view| self.credential(view)).collect(),
            project_id: project_id.map(Into::into),
        }
    }

    fn credential(&self, view: &'a CredentialView) -> Credential<'a> {
        Credential {
            provider: view.provider().clone(),
            env: Cow::Borrowed(&view.profile.env),
            serves_google_libraries: view.profile.serves_google_libraries,
            account: view.account.clone(),
            capabilities: Arc::clone(&view.granted),
            token: self.shown(view).map(|token| self.told(token)),
        }
    }

    /// The token, and when it ends by the node's own clock, since that is what its readers compare with.
    fn told(&self, token: &'a IssuedToken) -> TokenView<'a> {
        TokenView {
            access_token: Cow::Borrowed(&token.access_token),
            expires_at: self.now.wall_at(token.expires_at),
            expires_in: token.remaining(self.now.uptime).unwrap_or_default().as_secs(),
            scope: Some(token.scopes.to_string().into()),
        }
    }

    /// All but the tokens.
    pub(crate) fn status(&self) -> Status<'a> {
        let snapshot = self.snapshot;
        let others = snapshot.other_accounts().into_iter();
        Status {
            agent: snapshot.manifest.agent.as_str().into(),
            owner: snapshot.manifest.owner.as_str().into(),
            state: self.state.as_str().into(),
            message: self.message.into(),
            action_url: self.action_url().map(Into::into),
            account: snapshot.account_in(&AccountField::Account).map(Into::into),
            service_account: snapshot.account_in(&AccountField::ServiceAccount).map(Into::into),
            accounts: others
                .map(|(provider, address)| (provider.clone(), address.into()))
                .collect(),
            capabilities: capabilities(snapshot).collect(),
        }
    }

    /// The content of `env`.
    pub(crate) fn env(&self) -> Zeroizing<String> {
        self.document(None).env()
    }

    /// The content of `status.json`.
    pub(crate) fn status_json(&self) -> String {
        self.status().to_file()
    }

    /// Stands for what the token may do and for whom: two tokens with equal rights may replace each other
    /// late, others may not.
    pub(crate) fn rights(&self, keys: &RandomState) -> u64 {
        let tokens = self
            .tokens()
            .map(|token| (token.integration.as_str(), token.scopes.to_string()));
        let granted = self.snapshot.credentials.iter().map(|view| &view.granted);
        let manifest = &self.snapshot.manifest;
        let reader = (manifest.owner.as_str(), manifest.uid, manifest.gid);
        keys.hash_one((tokens.collect::<Vec<_>>(), reader, granted.collect::<Vec<_>>()))
    }

    /// Stands for everything but the token.
    pub(crate) fn status_hash(&self, keys: &RandomState) -> u64 {
        keys.hash_one(self.status_json())
    }

    /// Stands for all that a document of it says. Nothing that passing time alone changes is in it, nor a clock that is set.
    pub(crate) fn document_hash(&self, keys: &RandomState) -> u64 {
        let ends: Vec<Uptime> = self.tokens().map(|token| token.expires_at).collect();
        let mut document = self.document(None);
        for token in document.tokens_mut() {
            token.expires_at = Timestamp::UNIX_EPOCH;
            token.expires_in = 0;
        }
        keys.hash_one((ends, &*json(&document)))
    }

    /// Stands for all that a document of it says and for who may read it, on every machine alike. Times are not in it: a
    /// token keeps its own.
    pub(crate) fn digest(&self, project_id: &str) -> [u8; 16] {
        let mut document = self.document(Some(project_id));
        for token in document.tokens_mut() {
            token.expires_at = Timestamp::UNIX_EPOCH;
            token.expires_in = 0;
        }
        let manifest = &self.snapshot.manifest;
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(&json(&document));
        hash.update(format!("{:?} {:?}", manifest.uid, manifest.gid).as_bytes());
        let mut short = [0; 16];
        short.copy_from_slice(&hash.finish().as_ref()[..16]);
        short
    }

    /// When the first of the tokens that may be shown ends.
    pub(crate) fn expires_at(&self) -> Option<Uptime> {
        self.tokens().map(|token| token.expires_at).min()
    }

    /// True when there is every token and nothing to say about it.
    pub(crate) fn is_well(&self) -> bool {
        self.tokens().count() == self.snapshot.credentials.len()
            && self.state == AgentState::Active
            && self.message.is_empty()
    }

    /// The agent's snapshot as a whole.
    pub(crate) fn snapshot(&self) -> &'a AgentSnapshot {
        self.snapshot
    }

    /// Where a person can fix it.
    pub(crate) fn action_url(&self) -> Option<&'a str> {
        self.snapshot.action_url.as_deref()
    }

    /// What is wrong with the rendering itself, for the operator.
    pub(crate) fn problem(&self) -> Option<String> {
        let url = self.action_url().filter(|url| !is_plain_value(url))?;
        let mut text = String::from("TOKEN_BROKER_ACTION_URL was left out of env, because ");
        let _ = write!(
            text,
            "{url:?} holds characters that a shell or a dotenv parser would change: "
        );
        text.push_str("use a public_url of letters, digits and -._~/:%");
        Some(text)
    }
}

/// Each declared capability with the description from the manifest.
fn capabilities(snapshot: &AgentSnapshot) -> impl Iterator<Item = Capability<'_>> {
    snapshot.capabilities.iter().map(|status| Capability {
        key: status.key.clone(),
        state: status.state().as_str().into(),
        granted: status.granted,
        optional: status.optional,
        satisfied_by: status.satisfied_by.clone(),
        description: description(snapshot, &status.key).into(),
    })
}

/// What the agent uses `key` for, in its author's words.
pub(crate) fn description<'a>(snapshot: &'a AgentSnapshot, key: &CapabilityKey) -> &'a str {
    let requirements = &snapshot.manifest.integrations;
    requirements
        .iter()
        .find(|requirement| requirement.key == *key)
        .map_or("", |requirement| &requirement.description)
}

#[cfg(test)]
mod tests;
