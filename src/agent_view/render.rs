//! What an agent's files say, as pure text.
//!
//! `env` has to mean the same to `docker --env-file`, to a shell's `set -a; . env` and to dotenv parsers.
//! They disagree about quotes, so nothing is quoted: a value that needs quoting is not written at all.

use std::{
    collections::BTreeMap,
    fmt::Write,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use serde::{Serialize, Serializer, ser::SerializeSeq};
use zeroize::Zeroizing;

use crate::{
    broker::{AgentSnapshot, AgentState, CapabilityState, CredentialView, IssuedToken},
    clock::{self, Moment, Uptime},
    id::{CapabilityKey, ProviderId},
    provider::{AccountField, Listed},
};

/// What an agent's files and streams may show at one moment.
///
/// It differs from the snapshot where the snapshot alone would mislead: a token that has expired since, or
/// one that no env file can carry.
pub(crate) struct View<'a> {
    snapshot: &'a AgentSnapshot,
    now: Moment,
    /// Where the agent stands.
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

    /// The content of `env`.
    pub(crate) fn env(&self) -> Zeroizing<String> {
        let action_url = self.action_url().filter(|url| is_plain_value(url));
        let mut text = Zeroizing::new(String::with_capacity(self.env_capacity()));
        let any_token = self.tokens().next().is_some();
        for view in &self.snapshot.credentials {
            let names = &view.profile.env;
            let token = self.shown(view);
            if let Some(token) = token {
                self.token_lines(&mut text, [&names.access_token, &names.expires_at], token);
            }
            if let Some(name) = names.capabilities.name().filter(|_| any_token) {
                self.capabilities_line(&mut text, name, view);
            }
            if let (Some(name), Some(_)) = (&names.account, token) {
                line(&mut text, name, view.account.as_deref().unwrap_or_default());
            }
        }
        line(&mut text, "TOKEN_BROKER_STATE", self.state.as_str());
        if let Some(url) = action_url {
            line(&mut text, "TOKEN_BROKER_ACTION_URL", url);
        }
        text
    }

    /// What the token serves, and what those serve that are listed with it.
    fn capabilities_line(&self, text: &mut String, name: &str, of: &CredentialView) {
        let is_told = |view: &CredentialView| match &view.profile.env.capabilities {
            Listed::In(_) => view.provider() == of.provider(),
            Listed::With(provider) => provider == of.provider(),
        };
        let credentials = self.snapshot.credentials.iter();
        let told: Vec<&CredentialView> = credentials.filter(|view| is_told(view)).collect();
        let served = |key: &&CapabilityKey| told.iter().any(|view| view.granted.contains(key));
        text.push_str(name);
        text.push('=');
        for (index, key) in self.snapshot.granted().filter(served).enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(key.as_str());
        }
        text.push('\n');
    }

    /// The token, and when it ends by the node's own clock, since that is what its readers compare with.
    fn token_lines(&self, text: &mut String, [token_name, expiry_name]: [&str; 2], token: &IssuedToken) {
        line(text, token_name, token.access_token.expose());
        line(
            text,
            expiry_name,
            &clock::rfc3339(self.now.wall_at(token.expires_at)),
        );
    }

    /// Enough for the whole text: growing would leave a copy of the token behind in freed memory.
    fn env_capacity(&self) -> usize {
        let tokens: usize = self.tokens().map(|token| token.access_token.expose().len()).sum();
        let capabilities: usize = self.snapshot.granted().map(|key| key.as_str().len() + 1).sum();
        let names = self.snapshot.credentials.iter().map(|view| {
            let names = &view.profile.env;
            names.names().map(str::len).sum::<usize>() + view.account.as_deref().map_or(0, str::len) + 64
        });
        tokens + capabilities + names.sum::<usize>() + self.action_url().map_or(0, str::len) + 128
    }

    /// The content of `status.json`. It holds no secret and nothing that changes with each renewal.
    pub(crate) fn status_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
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
    pub(crate) fn situation(&self, keys: &RandomState) -> u64 {
        keys.hash_one(self.status_json())
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

    /// The agent's situation as a whole.
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

fn line(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push('=');
    text.push_str(value);
    text.push('\n');
}

/// The `b64token` of RFC 6750, section 2.1, without a leading `~`, which a shell would expand.
fn is_bearer_token(token: &str) -> bool {
    !token.is_empty()
        && !token.starts_with('~')
        && token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'='))
}

/// True for a value that every reader of env files takes literally. `~` after `:` is left out with the rest
/// of what a shell expands in an assignment.
fn is_plain_value(value: &str) -> bool {
    value.bytes().all(|b| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'.' | b'_' | b'+' | b'/' | b'=' | b':' | b'%' | b'?' | b',' | b'@'
            )
    })
}

#[derive(Serialize)]
struct Capability<'a> {
    key: &'a CapabilityKey,
    state: CapabilityState,
    granted: bool,
    optional: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    satisfied_by: Option<&'a CapabilityKey>,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
}

/// Each declared capability with the description from the manifest.
fn capabilities(snapshot: &AgentSnapshot) -> impl Iterator<Item = Capability<'_>> {
    snapshot.capabilities.iter().map(|status| Capability {
        key: &status.key,
        state: status.state(),
        granted: status.granted,
        optional: status.optional,
        satisfied_by: status.satisfied_by.as_ref(),
        description: description(snapshot, &status.key),
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

struct Capabilities<'a>(&'a AgentSnapshot);

impl Serialize for Capabilities<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.capabilities.len()))?;
        for capability in capabilities(self.0) {
            list.serialize_element(&capability)?;
        }
        list.end()
    }
}

/// The fields of `status.json`.
impl Serialize for View<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Status<'a> {
            agent: &'a str,
            owner: &'a str,
            state: AgentState,
            message: &'a str,
            action_url: Option<&'a str>,
            account: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            service_account: Option<&'a str>,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            accounts: BTreeMap<&'a ProviderId, &'a str>,
            capabilities: Capabilities<'a>,
        }
        Status {
            agent: self.snapshot.manifest.agent.as_str(),
            owner: self.snapshot.manifest.owner.as_str(),
            state: self.state,
            message: self.message,
            action_url: self.action_url(),
            account: self.snapshot.account_in(&AccountField::Account),
            service_account: self.snapshot.account_in(&AccountField::ServiceAccount),
            accounts: self.snapshot.other_accounts(),
            capabilities: Capabilities(self.snapshot),
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
