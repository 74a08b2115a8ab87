//! Which of an owner's accounts is meant: by an agent, by an operator.

use std::fmt;

use crate::{
    id::{AgentName, IntegrationId, OwnerId, ProviderId},
    manifest::Manifest,
    policy::context::PolicyContext,
    provider::{Origin, Profile, Provider},
    registry::{
        agent_state::AgentState,
        names::going_by,
        state::{Account, Registry},
    },
    text::same_address,
};

/// Names an account: by id, or by owner, and address where the owner has several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountRef {
    /// By its id.
    Id(IntegrationId),
    /// By its owner.
    Owner {
        /// Whose.
        owner: OwnerId,
        /// Which of them: its address.
        account: Option<String>,
    },
}

/// Several accounts fit, and nobody said which one is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{owner} has several accounts ({}): name one with --account or its id", .accounts.join(", "))]
pub struct SeveralAccounts {
    /// Whose.
    pub owner: OwnerId,
    /// What tells them apart: their addresses, and where two have the same one, their ids as well.
    pub accounts: Vec<String>,
}

/// What was looked for and is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnknownAccount {
    /// An account with this id.
    Id(IntegrationId),
    /// An account of this owner, who has none.
    AnyOf(OwnerId),
    /// An account that goes by a certain address.
    Address {
        /// Whose.
        owner: OwnerId,
        /// The address.
        wanted: String,
        /// Those that the owner has.
        there: Vec<String>,
    },
}

impl fmt::Display for UnknownAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "there is no integration {id}"),
            Self::AnyOf(owner) => write!(f, "{owner} has connected no account"),
            Self::Address { owner, wanted, there } if there.is_empty() => {
                write!(f, "{owner} has not connected {wanted}, nor any other account")
            }
            Self::Address { owner, wanted, there } => {
                write!(f, "{owner} has not connected {wanted}, but {}", there.join(", "))
            }
        }
    }
}

/// Why no account was found.
pub(crate) enum NotFound {
    /// There is none.
    Unknown(UnknownAccount),
    /// There are several.
    Several(SeveralAccounts),
}

/// Why an agent has no account to use, and whose turn it is to act.
pub(crate) struct NoAccount {
    pub(crate) state: AgentState,
    pub(crate) message: String,
}

/// The account that `which` names.
pub(crate) fn find<'a>(registry: &'a Registry, which: &AccountRef) -> Result<&'a Account, NotFound> {
    match which {
        AccountRef::Id(id) => registry
            .accounts
            .get(id)
            .map(Box::as_ref)
            .ok_or_else(|| NotFound::Unknown(UnknownAccount::Id(id.clone()))),
        AccountRef::Owner { owner, account } => {
            let found: Vec<&Account> = match account {
                Some(wanted) => going_by(registry.accounts_of(owner), wanted, |a| &a.record),
                None => registry.accounts_of(owner).collect(),
            };
            match found.as_slice() {
                [one] => Ok(one),
                [] => Err(NotFound::Unknown(nothing_found(
                    registry,
                    owner,
                    account.as_deref(),
                ))),
                several => Err(NotFound::Several(SeveralAccounts::among(owner, several))),
            }
        }
    }
}

impl SeveralAccounts {
    /// These of this owner.
    pub(crate) fn among(owner: &OwnerId, accounts: &[&Account]) -> Self {
        Self {
            owner: owner.clone(),
            accounts: told_apart(accounts),
        }
    }
}

/// How accounts are called among each other: by address, and where two have the same one, by provider and id as well.
fn told_apart(accounts: &[&Account]) -> Vec<String> {
    let name = |account: &&Account| {
        let record = &account.record;
        if shares_address(account, accounts) {
            format!("{} of {}: {}", record.account, record.provider, record.id)
        } else {
            record.account.clone()
        }
    };
    accounts.iter().map(name).collect()
}

fn shares_address(account: &Account, accounts: &[&Account]) -> bool {
    let address = &account.record.account;
    let same = accounts
        .iter()
        .filter(|other| same_address(&other.record.account, address));
    same.count() > 1
}

fn nothing_found(registry: &Registry, owner: &OwnerId, wanted: Option<&str>) -> UnknownAccount {
    match wanted {
        None => UnknownAccount::AnyOf(owner.clone()),
        Some(wanted) => UnknownAccount::Address {
            owner: owner.clone(),
            wanted: wanted.to_owned(),
            there: addresses(registry.accounts_of(owner))
                .into_iter()
                .map(str::to_owned)
                .collect(),
        },
    }
}

/// The owner's accounts at this provider that go by this address; without one, enough of them to see whether there are several.
fn fitting<'a>(
    registry: &'a Registry,
    owner: &OwnerId,
    provider: &ProviderId,
    wanted: Option<&str>,
) -> Vec<&'a Account> {
    let all = registry.accounts_at(owner, provider);
    match wanted {
        Some(wanted) => going_by(all, wanted, |account| &account.record),
        None => all.take(2).collect(),
    }
}

/// The one account that [`fitting`] finds; `None` where there is none, or more than one.
pub(crate) fn the_account<'a>(
    registry: &'a Registry,
    owner: &OwnerId,
    provider: &ProviderId,
    wanted: Option<&str>,
) -> Option<&'a Account> {
    match fitting(registry, owner, provider, wanted).as_slice() {
        [one] => Some(one),
        _ => None,
    }
}

/// The account at this provider that an agent uses.
pub(crate) fn select_account<'a>(
    registry: &'a Registry,
    manifest: &'a Manifest,
    provider: &Provider,
) -> Result<&'a Account, NoAccount> {
    let (owner, profile) = (&manifest.owner, &provider.profile);
    let wanted = manifest.account_in(&profile.account_field);
    let found = fitting(registry, owner, &profile.id, wanted);
    let there = || addresses(registry.accounts_at(owner, &profile.id));
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(NoAccount {
            state: AgentState::NotConnected,
            message: match &profile.origin {
                Origin::Consent { .. } => not_connected(owner, profile, wanted, &there()),
                Origin::Key { command, .. } => not_added(owner, profile, command, wanted, &there()),
            },
        }),
        // To guess would be to act in the wrong name.
        [_, ..] => {
            let mut several = match wanted {
                Some(_) => found,
                None => registry.accounts_at(owner, &profile.id).collect(),
            };
            several.sort_unstable_by(|a, b| {
                (&a.record.account, &a.record.id).cmp(&(&b.record.account, &b.record.id))
            });
            Err(NoAccount {
                state: AgentState::Misconfigured,
                message: ambiguous(owner, profile, wanted, &several),
            })
        }
    }
}

fn ambiguous(owner: &OwnerId, profile: &Profile, wanted: Option<&str>, several: &[&Account]) -> String {
    let has = match profile.origin {
        Origin::Consent { .. } => "has connected several",
        Origin::Key { .. } => "has several",
    };
    let unsaid = match wanted {
        None => "the agent does not say which one it uses".to_owned(),
        Some(wanted) => format!("`{wanted}`, which the agent names, does not say which one it uses"),
    };
    let tells = if several.iter().any(|account| shares_address(account, several)) {
        "the id of one of them"
    } else {
        "one of these addresses"
    };
    format!(
        "{owner} {has} {} ({}), and {unsaid}: add `{}:` with {tells} to its manifest.",
        profile.accounts,
        told_apart(several).join(", "),
        profile.account_field
    )
}

fn not_connected(owner: &OwnerId, profile: &Profile, wanted: Option<&str>, there: &[&str]) -> String {
    let account = &profile.account;
    match (wanted, there) {
        (None, _) => format!("{owner} has not connected {}.", profile.any_account),
        (Some(wanted), []) => format!("{owner} has not connected the {account} {wanted}."),
        (Some(wanted), there) => format!(
            "{owner} has not connected the {account} {wanted}, which the agent uses. Connected: {}.",
            there.join(", ")
        ),
    }
}

fn not_added(
    owner: &OwnerId,
    profile: &Profile,
    command: &str,
    wanted: Option<&str>,
    there: &[&str],
) -> String {
    let account = &profile.account;
    let lacking = match (wanted, there) {
        (None, _) => format!("{owner} has no {account}"),
        (Some(wanted), []) => format!("{owner} has no {account} {wanted}"),
        (Some(wanted), there) => format!(
            "{owner} has no {account} {wanted}, which the agent uses, but {}",
            there.join(", ")
        ),
    };
    format!("{lacking}: the operator adds one with `{command}`.")
}

/// The addresses of accounts, sorted.
fn addresses<'a>(accounts: impl Iterator<Item = &'a Account>) -> Vec<&'a str> {
    let mut addresses: Vec<&str> = accounts.map(|account| account.record.account.as_str()).collect();
    addresses.sort_unstable();
    addresses
}

/// The agents that use this account, by name.
pub(crate) fn agents_on(registry: &Registry, context: &PolicyContext, account: &Account) -> Vec<AgentName> {
    let Some(provider) = context.providers.get(&account.record.provider) else {
        return Vec::new();
    };
    let uses = |name: &AgentName| {
        let entry = registry.agents.get(name);
        entry.is_some_and(|entry| {
            context.declares(&entry.manifest, provider.id())
                && select_account(registry, &entry.manifest, provider)
                    .is_ok_and(|used| used.record.id == account.record.id)
        })
    };
    registry
        .agents_of(&account.record.owner)
        .into_iter()
        .filter(uses)
        .collect()
}
