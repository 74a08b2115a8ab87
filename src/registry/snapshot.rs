//! What an agent may know at one moment, as every surface shows it. Readers share it without a lock.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    capability::ScopeSet,
    clock::Uptime,
    id::{CapabilityKey, IntegrationId, ProviderId},
    manifest::Manifest,
    provider::{AccountField, Profile, SOME_PROVIDER},
    registry::{
        agent_state::{AgentState, CapabilityState},
        problem::{Problem, ProblemCause, ProblemCode},
    },
    secret::AccessToken,
};

/// The life below which Google's own libraries renew (google-auth 225 s, google-auth-library 300 s).
const FRESHNESS_FLOOR: Duration = Duration::from_secs(300);

/// How one declared capability stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilityStatus {
    /// The declared key.
    pub key: CapabilityKey,
    /// The granted scopes cover it.
    pub granted: bool,
    /// The agent works without it.
    pub optional: bool,
    /// The wider key that satisfies it, when its own scope was not granted.
    pub satisfied_by: Option<CapabilityKey>,
    /// A consent asked for it, and the person did not give it.
    pub declined: bool,
}

impl CapabilityStatus {
    /// All of it in one word.
    pub fn state(&self) -> CapabilityState {
        match (self.granted, &self.satisfied_by) {
            (true, None) => CapabilityState::Granted,
            (true, Some(_)) => CapabilityState::Satisfied,
            (false, _) if self.declined => CapabilityState::Declined,
            (false, _) => CapabilityState::Missing,
        }
    }
}

/// An access token and what it may do. No `Debug`: it holds a secret.
pub struct IssuedToken {
    /// The token.
    pub access_token: AccessToken,
    /// The account it was obtained with.
    pub integration: IntegrationId,
    /// What it carries.
    pub scopes: ScopeSet,
    /// When it was asked for: its life is counted from there, so that it is never overstated.
    pub issued_at: Uptime,
    /// When it stops working. What people and programs are shown is [`Moment::wall_at`](crate::clock::Moment::wall_at)
    /// it.
    pub expires_at: Uptime,
}

impl IssuedToken {
    /// How long it works in all.
    pub fn lifetime(&self) -> Duration {
        self.expires_at.since(self.issued_at)
    }

    /// Below this much remaining life a token is not handed out while a fresher one can be had: Google's
    /// libraries ask again on every call under 300 s. Tokens that are short-lived from the start keep a fifth.
    pub fn floor(&self) -> Duration {
        FRESHNESS_FLOOR.min(self.lifetime() / 5)
    }

    /// True while the token works and has more life than [`Self::floor`].
    pub fn is_fresh(&self, now: Uptime) -> bool {
        self.remaining(now).is_some_and(|left| left > self.floor())
    }

    /// True where it does not carry all that was asked for.
    pub(crate) fn is_narrower_than(&self, asked: &ScopeSet) -> bool {
        !asked.is_subset(&self.scopes)
    }

    /// How what it carries differs from what was asked for, in a sentence; empty when it does not. Scopes that only
    /// tell who somebody is make no difference.
    pub fn deviation(&self, asked: &ScopeSet) -> String {
        let (lacking, extra) = (asked.without(&self.scopes), self.scopes.without(asked));
        let mut sentences = Vec::new();
        if !lacking.is_empty() {
            sentences.push(format!(
                "The provider gave less than was asked for: the token does not carry {lacking}."
            ));
        }
        let extra: ScopeSet = extra
            .iter()
            .filter(|scope| !scope.is_sign_in())
            .cloned()
            .collect();
        if !extra.is_empty() {
            sentences.push(format!(
                "The provider gave more than was asked for: the token also carries {extra}."
            ));
        }
        sentences.join(" ")
    }

    /// When time alone changes what it is good for: it is fresh no more, then it works no more.
    pub(crate) fn next_change(&self, now: Uptime) -> Uptime {
        if self.is_fresh(now) {
            self.expires_at.before(self.floor())
        } else {
            self.expires_at
        }
    }

    /// How long it still works; `None` when it has expired.
    pub fn remaining(&self, now: Uptime) -> Option<Duration> {
        now.until(self.expires_at)
    }
}

/// What an agent has of one provider's account.
#[derive(Clone)]
pub struct CredentialView {
    /// Whose account it is.
    pub profile: Arc<Profile>,
    /// The account's address.
    pub account: Option<Arc<str>>,
    /// What the token serves: the granted ones among the declared capabilities, in the manifest's order.
    pub granted: Arc<[CapabilityKey]>,
    /// The token; it may have expired since, so compare with the clock.
    pub token: Option<Arc<IssuedToken>>,
    /// There ought to be a token: an account is there, the agent may have its token, and its owner has nothing to do first.
    pub is_expected: bool,
}

impl CredentialView {
    /// What an agent has of an account that it cannot use.
    pub fn empty(profile: Arc<Profile>, account: Option<Arc<str>>) -> Self {
        Self {
            profile,
            account,
            granted: Arc::default(),
            token: None,
            is_expected: false,
        }
    }

    /// Whose account it is.
    pub fn provider(&self) -> &ProviderId {
        &self.profile.id
    }

    /// The token, if it still works.
    pub fn living_token(&self, now: Uptime) -> Option<&Arc<IssuedToken>> {
        self.token.as_ref().filter(|token| token.remaining(now).is_some())
    }

    /// True when the two say the same, the token by identity.
    fn is(&self, other: &Self) -> bool {
        let same_token = match (&self.token, &other.token) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        same_token
            && self.profile.id == other.profile.id
            && self.account == other.account
            && self.granted == other.granted
            && self.is_expected == other.is_expected
    }
}

/// A consent without which an agent does not work, and which its owner can give.
#[derive(Clone, PartialEq, Eq)]
pub struct AwaitedConsent {
    /// Where it is given.
    pub profile: Arc<Profile>,
    /// The account there worked before: whatever the agent uses of it is asked for again.
    pub again: bool,
    /// What it is for, in the manifest's order.
    pub capabilities: Vec<CapabilityKey>,
}

/// What an agent may know at one moment.
pub struct AgentSnapshot {
    /// What it declared.
    pub manifest: Arc<Manifest>,
    /// Its state.
    pub state: AgentState,
    /// A sentence a person can act on; empty when all is well.
    pub message: String,
    /// Where a person can fix it.
    pub action_url: Option<String>,
    /// What its owner has to consent to, one provider after the other.
    pub awaited: Box<[AwaitedConsent]>,
    /// Each declared capability, in the manifest's order.
    pub capabilities: Arc<[CapabilityStatus]>,
    /// What it has of each provider that it declares something of, at least one: the first is the main one.
    pub credentials: Box<[CredentialView]>,
}

impl AgentSnapshot {
    /// What it has of the provider whose token it gets where it does not say whose it wants.
    pub fn main(&self) -> &CredentialView {
        &self.credentials[0]
    }

    /// What it has of this provider's account; `None` where it declares nothing of it.
    pub fn credential(&self, provider: &ProviderId) -> Option<&CredentialView> {
        self.credentials.iter().find(|view| view.provider() == provider)
    }

    /// Who gives its tokens, for people; `the provider`, where those are several.
    pub fn provider_name(&self) -> &str {
        let first = &self.main().profile.name;
        let is_first = |view: &CredentialView| view.profile.name == *first;
        if self.credentials.iter().all(is_first) {
            first
        } else {
            SOME_PROVIDER
        }
    }

    /// What it has of the first provider whose tokens Google's libraries take.
    pub fn for_google_libraries(&self) -> Option<&CredentialView> {
        self.credentials
            .iter()
            .find(|view| view.profile.serves_google_libraries)
    }

    /// The address of the account at this provider.
    pub fn account_at(&self, provider: &ProviderId) -> Option<&str> {
        self.credential(provider)?.account.as_deref()
    }

    /// The address of the account whose address this field of `status.json` holds.
    pub fn account_in(&self, field: &AccountField) -> Option<&str> {
        let view = self
            .credentials
            .iter()
            .find(|view| view.profile.account_field == *field)?;
        view.account.as_deref()
    }

    /// The addresses of accounts that have no field of their own, by provider.
    pub fn other_accounts(&self) -> BTreeMap<&ProviderId, &str> {
        let named =
            |view: &'_ CredentialView| matches!(view.profile.account_field, AccountField::Accounts(_));
        let others = self.credentials.iter().filter(|view| named(view));
        others
            .filter_map(|view| Some((view.provider(), view.account.as_deref()?)))
            .collect()
    }

    /// True when the two say the same, so that nobody has to be told.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        let same_credentials = self.credentials.len() == other.credentials.len()
            && self
                .credentials
                .iter()
                .zip(&other.credentials)
                .all(|(a, b)| a.is(b));
        same_credentials
            && self.state == other.state
            && self.message == other.message
            && self.action_url == other.action_url
            && self.awaited == other.awaited
            && self.capabilities == other.capabilities
            && (Arc::ptr_eq(&self.manifest, &other.manifest) || self.manifest == other.manifest)
    }

    /// Every capability that a token of the agent's serves, in the manifest's order.
    pub fn granted(&self) -> impl Iterator<Item = &CapabilityKey> {
        let keys = self.capabilities.iter().map(|status| &status.key);
        keys.filter(|key| self.credentials.iter().any(|view| view.granted.contains(key)))
    }

    /// When the first of its tokens that work stops working, whichever provider's.
    pub fn first_end(&self, now: Uptime) -> Option<Uptime> {
        let living = self.credentials.iter().filter_map(|view| view.living_token(now));
        living.map(|token| token.expires_at).min()
    }

    /// True when a token that it ought to have is not there, whichever provider's, and its owner has nothing to do for it.
    pub fn is_short_of_token(&self, now: Uptime) -> bool {
        let lacks = |view: &CredentialView| view.is_expected && view.living_token(now).is_none();
        !self.state.is_the_owners() && self.action_url.is_none() && self.credentials.iter().any(lacks)
    }

    /// True when it does not work before a person does something: its owner, or the operator who names an account.
    pub fn waits_for_a_person(&self, now: Uptime) -> bool {
        let works = matches!(self.state, AgentState::Active | AgentState::ProviderUnavailable);
        !works && !self.is_short_of_token(now)
    }

    /// What an agent is told that asks for a token it cannot have.
    pub fn problem(&self) -> Problem {
        Problem {
            code: ProblemCode::State(self.state),
            cause: ProblemCause::State,
            message: self.message.clone(),
            action_url: self.action_url.clone(),
            retry_after: None,
        }
    }
}
