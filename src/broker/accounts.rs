//! Connected accounts: listing, checking, letting go.

use std::{sync::Arc, time::Duration};

use super::{
    AgentHandle, AgentState, Broker, Event, EventKind, TokenKey,
    situation::{action_url, refused, state_of},
    world::{Account, World},
};
use crate::{
    id::{AgentName, CapabilityKey, IntegrationId, OwnerId},
    store::{Health, IntegrationRecord, StoreError},
    telemetry::audit::{Actor, AuditEvent, Decision},
    vault::Sealed,
};

/// How long a disconnect waits for the agents' files; a directory that cannot be written holds it no longer.
pub(super) const DELIVERY_PATIENCE: Duration = Duration::from_secs(5);

/// An agent, and the revision of its snapshot that it has to be told.
type Told = (Arc<AgentHandle>, u64);

/// Names an account: by id, or by owner, and address where the owner has several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountRef {
    /// By its id.
    Id(IntegrationId),
    /// By its owner.
    Owner {
        /// Whose.
        owner: OwnerId,
        /// Which of them.
        account: Option<String>,
    },
}

/// Why nothing was done with an account.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// No such account.
    #[error("{0}: `token-broker integrations list` shows the connected accounts")]
    Unknown(String),
    /// Several fit.
    #[error("{owner} has several accounts ({}): name one with --account or its id", .accounts.join(", "))]
    Ambiguous {
        /// Whose.
        owner: OwnerId,
        /// Their addresses.
        accounts: Vec<String>,
    },
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// When letting go of an account revokes it at the provider, which ends everything of that account in the
/// provider's project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Revocation {
    /// When no other integration here is of the same account.
    #[default]
    WhenLast,
    /// Never: only this daemon forgets it.
    Never,
    /// In any case.
    Always,
}

/// An account as the operator sees it.
pub struct AccountView {
    /// The record; its secret is sealed.
    pub record: IntegrationRecord,
    /// How it stands, and the sentence that goes with it.
    standing: (AgentState, String),
    /// What the granted scopes cover.
    pub capabilities: Vec<CapabilityKey>,
    /// The agents of its owner.
    pub agents: Vec<AgentName>,
    /// A page that says what to do, when somebody has to do something.
    pub action_url: Option<String>,
}

impl AccountView {
    /// How it stands, named as for agents.
    pub fn state(&self) -> AgentState {
        self.standing.0
    }

    /// The sentence that goes with the state; empty when all is well.
    pub fn message(&self) -> &str {
        &self.standing.1
    }
}

/// What letting go of an account did, or would do.
pub struct Disconnected {
    /// The account as it was.
    pub account: AccountView,
    /// The agents that lost their token.
    pub agents: Vec<AgentName>,
    /// The provider confirmed the revocation, or would be asked for it.
    pub revoked: bool,
    /// What could not be done.
    pub problem: Option<String>,
}

impl Broker {
    /// The accounts, by owner and address; only the owner's where one is given.
    pub fn accounts(&self, owner: Option<&OwnerId>) -> Vec<AccountView> {
        let world = self.world();
        let wanted = |account: &&Account| owner.is_none_or(|owner| account.record.owner == *owner);
        let mut views: Vec<_> = world
            .accounts
            .values()
            .map(Box::as_ref)
            .filter(wanted)
            .map(|account| self.account_view(&world, account))
            .collect();
        views.sort_by(|a, b| (&a.record.owner, &a.record.account).cmp(&(&b.record.owner, &b.record.account)));
        views
    }

    /// The state of each account.
    pub fn account_states(&self) -> Vec<super::AgentState> {
        let world = self.world();
        world
            .accounts
            .values()
            .map(|account| self.standing(&world, account).0)
            .collect()
    }

    /// How many accounts there are.
    pub fn account_count(&self) -> usize {
        self.world().accounts.len()
    }

    /// One account.
    pub fn account(&self, which: &AccountRef) -> Result<AccountView, AccountError> {
        let world = self.world();
        let id = find(&world, which)?;
        let account = world.accounts.get(&id).ok_or_else(|| unknown(which))?;
        Ok(self.account_view(&world, account))
    }

    /// Asks the provider now whether the grant still works.
    pub async fn check_account(self: &Arc<Self>, which: &AccountRef) -> Result<AccountView, AccountError> {
        let (id, used, scopes) = {
            let world = self.world();
            let id = find(&world, which)?;
            let scopes = world
                .accounts
                .get(&id)
                .map(|account| account.record.scopes.clone());
            let used = world
                .slots_of(&id)
                .find(|(_, slot)| !slot.users.is_empty())
                .map(|(key, _)| key.clone());
            (id, used, scopes.unwrap_or_default())
        };
        // A token that agents use is worth more than one that nobody does; one request tells enough.
        let key = used.unwrap_or(TokenKey {
            integration: id.clone(),
            scopes,
        });
        let healthy = self
            .world()
            .accounts
            .get(&id)
            .is_some_and(|a| a.record.health == Health::Active);
        if healthy {
            // What it finds out is in the account's view.
            let _ = self.renew(&key).await;
        }
        self.account(&AccountRef::Id(id))
    }

    /// What letting go of an account would do.
    pub fn preview_disconnect(
        &self,
        which: &AccountRef,
        revocation: Revocation,
    ) -> Result<Disconnected, AccountError> {
        let world = self.world();
        let id = find(&world, which)?;
        let account = world.accounts.get(&id).ok_or_else(|| unknown(which))?;
        Ok(Disconnected {
            account: self.account_view(&world, account),
            agents: agents_with_tokens(&world, &account.record),
            revoked: revokes(&world, &account.record, revocation),
            problem: None,
        })
    }

    /// Lets go of an account: first its tokens leave every agent, then the grant is deleted, then it is revoked.
    pub async fn disconnect(
        self: &Arc<Self>,
        which: &AccountRef,
        revocation: Revocation,
        actor: Actor,
    ) -> Result<Disconnected, AccountError> {
        let (broker, which) = (self.clone(), which.clone());
        // To its end, also when the caller goes away: a disconnect that stops halfway would be undone by a
        // restart, or leave the grant alive at the provider.
        let work = async move { broker.let_go(&which, revocation, actor).await };
        self.flights
            .spawn(work)
            .await
            .unwrap_or(Err(AccountError::Store(StoreError::Closed)))
    }

    async fn let_go(
        &self,
        which: &AccountRef,
        revocation: Revocation,
        actor: Actor,
    ) -> Result<Disconnected, AccountError> {
        let mut result = self.preview_disconnect(which, revocation)?;
        let id = result.account.record.id.clone();
        let (account, waiting) = {
            let mut world = self.world();
            self.take_out_account(&mut world, &id)
                .ok_or_else(|| unknown(which))?
        };
        let mut problems = uncleared(waiting).await;
        // A renewal under way may be rotating the grant: let it end, but not hold the deletion for long.
        let turn = tokio::time::timeout(DELIVERY_PATIENCE, account.turn.clone().lock_owned()).await;
        let stored = match self.delete_account(&id).await {
            Ok(stored) => stored,
            Err(error) => {
                result.problem = Some(format!("nothing was disconnected: {error}"));
                result.revoked = false;
                self.note_disconnect(&result, actor);
                drop(turn);
                self.bring_back(account).await;
                return Err(error.into());
            }
        };
        // Somebody may have connected the same account meanwhile, which revoking would end.
        result.revoked = result.revoked && revokes(&self.world(), &account.record, revocation);
        if result.revoked {
            result.revoked = false;
            match self.revoke(stored.as_ref().unwrap_or(&account.record)).await {
                Ok(()) => result.revoked = true,
                Err(message) => problems.push(format!(
                    "the grant could not be revoked at the provider ({message}): the owner can remove it at \
                     https://myaccount.google.com/connections"
                )),
            }
        }
        result.problem = (!problems.is_empty()).then(|| problems.join("; "));
        self.note_disconnect(&result, actor);
        Ok(result)
    }

    /// Takes an account and its tokens from every agent. Which agents have to be told, by which revision.
    fn take_out_account(&self, world: &mut World, id: &IntegrationId) -> Option<(Account, Vec<Told>)> {
        self.forget_tokens(world, id);
        let account = world.remove_account(id)?;
        let agents = world.agents_of(&account.record.owner);
        Some((account, self.republish(world, agents)))
    }

    /// Deletes an account's row. Returns it as it was, so that what is revoked is the grant that lives.
    async fn delete_account(&self, id: &IntegrationId) -> Result<Option<IntegrationRecord>, StoreError> {
        // A consent that was being kept when the account was taken out has put it back: it goes again.
        let _keeping = self.keeping_accounts().await;
        let stored = self.store.integration(id).await.ok().flatten();
        self.store.delete_integration(id).await?;
        self.take_out_account(&mut self.world(), id);
        Ok(stored)
    }

    /// The account could not be deleted and would be back after a restart, so it is brought back now, as it is
    /// in the database.
    async fn bring_back(&self, mut account: Account) {
        if let Ok(Some(mut stored)) = self.store.integration(&account.record.id).await {
            stored.secret = Sealed::from_bytes(Vec::new());
            account.record = stored;
        }
        let owner = account.record.owner.clone();
        let mut world = self.world();
        world.restore_account(account);
        let agents = world.agents_of(&owner);
        self.republish(&mut world, agents);
    }

    async fn revoke(&self, record: &IntegrationRecord) -> Result<(), String> {
        if record.authority != self.around.authority {
            return Err(format!("it belongs to {}", record.authority));
        }
        let refresh_token = self.open_refresh_token(&record.id, &record.secret, || record.account.clone())?;
        self.provider
            .revoke(&refresh_token)
            .await
            .map_err(|error| error.message)
    }

    fn note_disconnect(&self, result: &Disconnected, actor: Actor) {
        let record = &result.account.record;
        let how = if result.revoked {
            "revoked at the provider"
        } else {
            "forgotten here"
        };
        let detail = match &result.problem {
            Some(problem) => format!("{} of {}: {how}; {problem}", record.account, record.owner),
            None => format!("{} of {}: {how}", record.account, record.owner),
        };
        tracing::info!(integration = %record.id, owner = %record.owner, detail, "account disconnected");
        self.recorder.record(AuditEvent {
            time: self.now(),
            actor,
            action: EventKind::IntegrationDisconnected.as_str(),
            integration: Some(record.id.clone()),
            capabilities: result.account.capabilities.clone(),
            decision: if result.problem.is_none() {
                Decision::Allowed
            } else {
                Decision::Failed
            },
            detail: detail.clone(),
        });
        self.emit(Event {
            time: self.now(),
            kind: EventKind::IntegrationDisconnected,
            agent: None,
            integration: Some(record.id.clone()),
            state: None,
            message: detail,
            capabilities: result.account.capabilities.clone(),
            expires_at: None,
        });
    }

    /// How an account stands: what keeps it as a whole from working, otherwise what troubles its tokens.
    fn standing(&self, world: &World, account: &Account) -> (AgentState, String) {
        if let Some(refused) = refused(&self.around, account) {
            return refused;
        }
        let trouble = world
            .slots_of(&account.record.id)
            .find_map(|(_, slot)| slot.trouble.as_deref());
        match trouble {
            Some(trouble) => (state_of(trouble.kind), trouble.message.clone()),
            None => (AgentState::Active, String::new()),
        }
    }

    pub(super) fn account_view(&self, world: &World, account: &Account) -> AccountView {
        let record = account.record.clone();
        let standing = self.standing(world, account);
        let agents = world.agents_of(&record.owner);
        let action_url = agents
            .iter()
            .filter_map(|name| world.agents.get(name))
            .find(|_| record.health != Health::Active)
            .map(|entry| action_url(&self.around, &entry.manifest));
        let capabilities = self.around.catalog.covered_by(&record.scopes);
        AccountView {
            record,
            standing,
            capabilities,
            agents,
            action_url,
        }
    }
}

/// Waits until the agents' files were written. One sentence for each agent whose files were not.
async fn uncleared(waiting: Vec<Told>) -> Vec<String> {
    let end = tokio::time::Instant::now() + DELIVERY_PATIENCE;
    let mut problems = Vec::new();
    for (handle, revision) in waiting {
        let delivered = tokio::time::timeout_at(end, handle.delivered(revision)).await;
        if delivered.is_err() || handle.delivery_problem().is_some() {
            problems.push(format!(
                "the directory of the agent `{}` could not be cleared",
                handle.name()
            ));
        }
    }
    problems
}

fn agents_with_tokens(world: &World, record: &IntegrationRecord) -> Vec<AgentName> {
    let uses = |name: &AgentName| {
        let key = world.agents.get(name).and_then(|entry| entry.key.as_ref());
        key.is_some_and(|key| key.integration == record.id)
    };
    world.agents_of(&record.owner).into_iter().filter(uses).collect()
}

fn revokes(world: &World, record: &IntegrationRecord, revocation: Revocation) -> bool {
    match revocation {
        Revocation::Never => false,
        Revocation::Always => true,
        Revocation::WhenLast => !world.accounts.values().any(|other| {
            other.record.id != record.id
                && other.record.subject == record.subject
                && other.record.authority == record.authority
        }),
    }
}

fn find(world: &World, which: &AccountRef) -> Result<IntegrationId, AccountError> {
    match which {
        AccountRef::Id(id) if world.accounts.contains_key(id) => Ok(id.clone()),
        AccountRef::Id(_) => Err(unknown(which)),
        AccountRef::Owner { owner, account } => {
            let fits = |a: &&Account| account.as_ref().is_none_or(|wanted| a.record.account == *wanted);
            let found: Vec<&Account> = world.accounts_of(owner).filter(fits).collect();
            match found.as_slice() {
                [] => Err(unknown(which)),
                [one] => Ok(one.record.id.clone()),
                several => Err(AccountError::Ambiguous {
                    owner: owner.clone(),
                    accounts: several
                        .iter()
                        .map(|account| account.record.account.clone())
                        .collect(),
                }),
            }
        }
    }
}

fn unknown(which: &AccountRef) -> AccountError {
    AccountError::Unknown(match which {
        AccountRef::Id(id) => format!("there is no integration {id}"),
        AccountRef::Owner {
            owner,
            account: Some(account),
        } => format!("{owner} has not connected {account}"),
        AccountRef::Owner { owner, account: None } => format!("{owner} has connected no account"),
    })
}
