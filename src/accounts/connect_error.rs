//! How a consent can end badly.

use std::sync::Arc;

use crate::{
    accounts::not_kept::NotKept,
    capability::UnknownCapability,
    id::{CapabilityKey, IntegrationId, OwnerId, ProviderId},
    policy::{
        context::list,
        select_account::{NotFound, SeveralAccounts, UnknownAccount},
    },
    provider::{Profile, ProviderError, Retried, oauth::redirect::InvalidRedirect},
};

/// A capability that no person can grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ungrantable {
    /// The catalogue does not have it.
    #[error("there is no capability `{name}`{}", hint(.suggestion.as_ref()))]
    Unknown {
        /// What was named.
        name: String,
        /// What was probably meant.
        suggestion: Option<CapabilityKey>,
    },
    /// The catalogue does not have it any more.
    #[error(transparent)]
    NotInCatalogue(#[from] UnknownCapability),
    /// It is exercised with a key.
    #[error("`{0}` belongs to a service account: nobody can consent to it")]
    OfServiceAccount(CapabilityKey),
    /// Its provider has no consents.
    #[error("nobody can consent to this")]
    ByNobody,
}

fn hint(suggestion: Option<&CapabilityKey>) -> String {
    suggestion.map_or_else(String::new, |key| format!("; did you mean `{key}`?"))
}

/// A consent that did not end well. Holds no secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// A key that the catalogue does not have, or that no person can grant.
    #[error(transparent)]
    Capability(#[from] Ungrantable),
    /// Nothing was asked for.
    #[error("name at least one capability: `token-broker capabilities` lists them")]
    NoCapability,
    /// One consent is asked of one provider.
    #[error(
        "these capabilities belong to several providers ({}), and a consent is asked of one: connect each \
         provider by itself",
        by_provider(.0)
    )]
    SeveralProviders(Vec<(ProviderId, Vec<CapabilityKey>)>),
    /// It was not said whose grant is meant, and these providers have grants.
    #[error(
        "there are several providers, so say whose grant it is: name {} as the integration (`--integration`)",
        .0.join(" or ")
    )]
    ProviderUnsaid(Vec<String>),
    /// There is no such provider, or nobody consents there; those that there are.
    #[error("there is no integration `{named}` with grants: name {}", known.join(" or "))]
    UnknownProvider {
        /// What was named.
        named: String,
        /// Those that can be named.
        known: Vec<String>,
    },
    /// The account is at one provider, and what was asked for is another's.
    #[error("{account} is an account of `{provider}`, and what was asked for is of `{asked}`")]
    OtherProvider {
        /// The account.
        account: String,
        /// Its provider.
        provider: ProviderId,
        /// The other.
        asked: ProviderId,
    },
    /// The account is at another server than the one that its provider has become.
    #[error(
        "{account} of {owner} is an account at {found}, and `{provider}` is {configured} by now, where the same name may \
         be somebody else's. Disconnect it first (`token-broker integrations disconnect {id}`), then connect again; or configure {found} again. Nothing was changed"
    )]
    OtherIssuer {
        /// The account's id here.
        id: IntegrationId,
        /// Whose.
        owner: OwnerId,
        /// The account.
        account: String,
        /// Its provider.
        provider: ProviderId,
        /// The server that it was connected at.
        found: String,
        /// The server that the provider is now.
        configured: String,
    },
    /// Not an address that the configuration allows.
    #[error(
        "the return URL {0} is not allowed: list its origin under `return_url_origins` in the `[connect]` section"
    )]
    ReturnUrl(String),
    /// Too many at once.
    #[error("too many consents of this owner are under way; finish some, or wait until they expire")]
    TooMany,
    /// The redirect does not parse.
    #[error("this is not a redirect from the provider: {0}")]
    BadRedirect(#[from] InvalidRedirect),
    /// No consent has this state: used already, expired, or never begun here.
    #[error("this consent has been used already or has expired; begin again")]
    UnknownState,
    /// It has ended, or is just ending, in another browser.
    #[error(
        "this consent was ended already, and how is shown in the browser that came back first; this time nothing was \
         done"
    )]
    OtherBrowser,
    /// It was begun in the console by somebody who is signed in there, and this is another browser.
    #[error(
        "this consent was begun in the console in another browser, or that session has ended; begin again there"
    )]
    OtherSession,
    /// No consent has this id.
    #[error("there is no consent {0} under way; begin again")]
    UnknownConnect(String),
    /// Nobody came back in time.
    #[error("no answer came back from {} in time. {}", .0.name, .0.unanswered)]
    TimedOut(Arc<Profile>),
    /// The person said no.
    #[error("{} Nothing was changed", .1.declined)]
    Denied(OwnerId, Arc<Profile>),
    /// Every box was unticked.
    #[error("none of the permissions was given: tick at least one on {}'s page. Nothing was changed", .0.name)]
    NothingGranted(Arc<Profile>),
    /// This provider answered the redirect or the exchange with an error.
    #[error("{}", .0.sentence(Retried::ByHand))]
    Provider(ProviderError, Arc<Profile>),
    /// The provider gave no refresh token.
    #[error(
        "{} gave no lasting permission (no refresh token), so access would end within the hour. Remove this \
         app {}, then connect again. Nothing was changed", .0.name, there(.0)
    )]
    NoRefreshToken(Arc<Profile>),
    /// No such account.
    #[error("{0}: `token-broker integrations list` shows the connected accounts")]
    UnknownAccount(UnknownAccount),
    /// Nobody can consent for a service account.
    #[error(
        "{0} is a service account: nobody can consent for it. What it may do is decided where files are shared with it, \
         or by its domain's administrator"
    )]
    ServiceAccount(String),
    /// Several accounts fit.
    #[error(transparent)]
    Ambiguous(SeveralAccounts),
    /// A reconnect must be the same account.
    #[error(
        "the owner {owner} has connected {expected}, but {got} was chosen this time. Choose {expected} on {at}'s page, or \
         disconnect it first; `--account new` connects a second account. Nothing was changed"
    )]
    OtherAccount {
        /// At which provider.
        at: String,
        /// Whose.
        owner: OwnerId,
        /// The connected account.
        expected: String,
        /// The account that consented.
        got: String,
    },
    /// The account with a certain address was to be connected.
    #[error(
        "{expected} was to be connected for {owner}, but {got} was chosen. Choose {expected} on {at}'s page. Nothing \
         was changed"
    )]
    NotThatAccount {
        /// At which provider.
        at: String,
        /// Whose.
        owner: OwnerId,
        /// The address that was named.
        expected: String,
        /// The account that consented.
        got: String,
    },
    /// Another account was to be connected.
    #[error(
        "another account of {owner} was to be connected, but {account} was chosen, which is connected already. Choose \
         another one on {at}'s page, or add permissions to this one. Nothing was changed"
    )]
    ConnectedAlready {
        /// At which provider.
        at: String,
        /// Whose.
        owner: OwnerId,
        /// The account that consented.
        account: String,
    },
    /// A desktop client's new grant holds less than the one in force.
    #[error(
        "{account} had granted {lost} before, and this was left unticked this time. Tick what was granted before as well, or \
         disconnect the account first. Nothing was changed",
        lost = list(lost)
    )]
    Narrower {
        /// The account.
        account: String,
        /// What would be lost.
        lost: Vec<CapabilityKey>,
    },
    /// The account was disconnected, and so revoked, while it was being connected.
    #[error(
        "{account} was being disconnected at that moment, which ended at {at} what was just allowed as well. Nothing was \
         connected: connect it once more"
    )]
    RevokedMeanwhile {
        /// At which provider.
        at: String,
        /// The account.
        account: String,
    },
    /// The grant could not be kept.
    #[error("the account could not be kept: {0}. Nothing was changed")]
    Store(#[from] NotKept),
}

impl From<NotFound> for ConnectError {
    fn from(found: NotFound) -> Self {
        match found {
            NotFound::Unknown(what) => Self::UnknownAccount(what),
            NotFound::Several(several) => Self::Ambiguous(several),
        }
    }
}

/// Where the owner removes an app.
fn there(profile: &Profile) -> String {
    let page = profile.origin.connections();
    page.map_or_else(|| "there".to_owned(), |page| format!("at {page}"))
}

/// What is asked of each provider: `google: google.drive, google.gmail.send; acme: acme.read`.
fn by_provider(asked: &[(ProviderId, Vec<CapabilityKey>)]) -> String {
    let one = |(provider, keys): &(ProviderId, Vec<CapabilityKey>)| format!("{provider}: {}", list(keys));
    asked.iter().map(one).collect::<Vec<_>>().join("; ")
}
