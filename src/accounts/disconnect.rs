//! Letting go of an account: the grant is deleted and its tokens leave every agent, then it is revoked.
//!
//! The database is first, because it is what can say no: then nothing has happened, and every agent has what it had.
//! What follows in memory cannot fail, and follows in the same moment.

use std::{sync::Arc, time::Duration};

use crate::{
    accounts::{
        commit_grant::Grants,
        disconnect_problem::DisconnectProblem,
        list::{AccountError, AccountList, AccountView},
        tables::AccountTables,
        unusable_records::Unusable,
    },
    audit::audit_writer::AuditWriter,
    id::{AgentName, IntegrationId},
    policy::{
        context::PolicyContext,
        select_account::{AccountRef, UnknownAccount, find},
    },
    registry::{
        events::{Event, EventKind, Events},
        keys::TokenKey,
        state::{Registry, SharedRegistry},
        time::BrokerClock,
    },
    renewal::{
        outcome::Renewed,
        parts::Renewing,
        publisher::{Publisher, Told},
        rotation::Rotations,
        services::Services,
        single_flight::SingleFlight,
        turns::{Turn, Turns},
    },
    revocation::{
        fault::{RevocationEnding, RevocationFault},
        provider_accounts::ProviderAccounts,
        revocations::{Attempt, Revocations},
    },
    store::{IntegrationRecord, RevocationRecord, SharedStore, StoreError},
    telemetry::audit::{Actor, AuditEvent, Concern, Decision},
};

/// How long a disconnect waits for the agents' files; a directory that cannot be written holds it no longer.
pub(crate) const DELIVERY_PATIENCE: Duration = Duration::from_secs(5);

/// How long it waits for a renewal that may bring the grant's successor, before it goes on without being told.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(40);

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

/// What letting go of an account did, or would do.
pub struct Disconnected {
    /// The account as it was.
    pub account: AccountView,
    /// The agents that lost their token.
    pub agents: Vec<AgentName>,
    /// The provider confirmed the revocation, or would be asked for it.
    pub revoked: bool,
    /// What could not be done.
    pub problems: Vec<DisconnectProblem>,
}

impl Disconnected {
    /// What could not be done, in one line; `None` where all was.
    pub fn problem(&self) -> Option<String> {
        let problems: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        (!problems.is_empty()).then(|| problems.join("; "))
    }
}

/// Disconnects accounts: tokens withdrawn, grant deleted, revoked at the provider.
pub struct Disconnect {
    audit: Arc<AuditWriter>,
    clock: Arc<BrokerClock>,
    context: Arc<PolicyContext>,
    events: Events,
    single_flight: Arc<SingleFlight<TokenKey, Renewed>>,
    provider_accounts: Arc<ProviderAccounts>,
    registry: Arc<SharedRegistry>,
    rotations: Arc<Rotations>,
    store: SharedStore,
    unusable: Arc<Unusable>,
    account_list: Arc<AccountList>,
    grants: Arc<Grants>,
    publisher: Arc<Publisher>,
    revocations: Arc<Revocations>,
    turns: Arc<Turns>,
}

impl Disconnect {
    /// With what it needs of the parts before it.
    pub(crate) fn new(
        services: &Services,
        tables: &AccountTables,
        revocations: &Arc<Revocations>,
        renewing: &Renewing,
        account_list: &Arc<AccountList>,
        grants: &Arc<Grants>,
    ) -> Arc<Self> {
        Arc::new(Self {
            audit: services.audit.clone(),
            clock: services.clock.clone(),
            context: services.context.clone(),
            events: services.events.clone(),
            single_flight: services.single_flight.clone(),
            provider_accounts: tables.provider_accounts.clone(),
            registry: services.registry.clone(),
            rotations: services.rotations.clone(),
            store: services.store.clone(),
            unusable: tables.unusable.clone(),
            account_list: account_list.clone(),
            grants: grants.clone(),
            publisher: renewing.publisher.clone(),
            revocations: revocations.clone(),
            turns: renewing.turns.clone(),
        })
    }

    /// What letting go of an account would do.
    pub fn preview_disconnect(
        &self,
        which: &AccountRef,
        revocation: Revocation,
    ) -> Result<Disconnected, AccountError> {
        let registry = self.registry.lock();
        let account = find(&registry, which)?;
        Ok(Disconnected {
            account: self.account_list.account_view(&registry, account),
            agents: agents_with_tokens(&registry, &account.record),
            // Who is not configured cannot be asked.
            revoked: self.calls_for_revocation(&registry, &account.record, revocation)
                && self
                    .context
                    .providers
                    .bound_to(&account.record.issuer_binding)
                    .is_some(),
            problems: Vec::new(),
        })
    }

    /// Lets go of an account: the grant is deleted, its tokens leave every agent, and it is revoked. All of it, or, where
    /// the database does not take it, nothing.
    pub async fn disconnect(
        self: &Arc<Self>,
        which: &AccountRef,
        revocation: Revocation,
        actor: Actor,
    ) -> Result<Disconnected, AccountError> {
        let (this, which) = (self.clone(), which.clone());
        // To its end, also when the caller goes away: a disconnect that stops halfway would leave tokens with the
        // agents, or the grant alive at the provider.
        let work = async move { this.disconnect_now(&which, revocation, actor).await };
        self.single_flight
            .spawn(work)
            .await
            .unwrap_or(Err(AccountError::Store(StoreError::Closed)))
    }

    async fn disconnect_now(
        self: &Arc<Self>,
        which: &AccountRef,
        revocation: Revocation,
        actor: Actor,
    ) -> Result<Disconnected, AccountError> {
        let mut result = self.preview_disconnect(which, revocation)?;
        let id = result.account.record.id.clone();
        // A renewal under way may be rotating the grant: let it end, but not hold the deletion for long.
        let (this, held) = (self.clone(), id.clone());
        let mut turn = Box::pin(async move { this.turns.turn(&held).await });
        let in_turn = tokio::time::timeout(DELIVERY_PATIENCE, turn.as_mut()).await;
        let deleted = self.delete_account(&id, revocation, &result, &actor).await;
        let deleted = match deleted {
            Ok(Some(deleted)) => deleted,
            Ok(None) => return Err(AccountError::Unknown(UnknownAccount::Id(id.clone()))),
            Err(error) => {
                let problem = format!("nothing was disconnected: {error}");
                self.note_trouble(&result, &actor, &problem);
                return Err(error.into());
            }
        };
        let under_way = in_turn.is_err().then_some(turn);
        drop(in_turn);
        let mut problems = uncleared(deleted.waiting).await;
        result.revoked = false;
        if deleted.unreadable {
            let page = result.account.connections_url.as_str();
            problems.push(DisconnectProblem::Unrevoked {
                fault: RevocationFault::UnreadableRecord,
                connections: Some(page.to_owned()).filter(|page| !page.is_empty()),
            });
        }
        if let Some(owed) = deleted.owed {
            let paid = match under_way
                .filter(|_| !self.rotations.is_sure_to_keep(&result.account.record.provider))
            {
                None => self.revoke_now(owed, revocation, &actor).await,
                Some(renewal) => self.revoke_after(renewal, owed, revocation, &actor).await,
            };
            match paid {
                Ok(revoked) => result.revoked = revoked,
                Err(problem) => problems.push(problem),
            }
        }
        if self.is_keyed(&result.account.record) && revocation == Revocation::Always {
            problems.push(DisconnectProblem::KeyLivesOn);
        }
        result.problems = problems;
        if let Some(problem) = result.problem() {
            self.note_trouble(&result, &actor, &problem);
        }
        self.tell_disconnected(&result);
        Ok(result)
    }

    /// Deletes an account's row, and in the same commit keeps what is to be revoked and says so in the trail. Then,
    /// before anybody can look, takes the account and its tokens from every agent. `None` when somebody else was first.
    async fn delete_account(
        &self,
        id: &IntegrationId,
        revocation: Revocation,
        result: &Disconnected,
        actor: &Actor,
    ) -> Result<Option<Deleted>, StoreError> {
        // Nobody adds or removes an account meanwhile.
        let _keeping = self.grants.keeping_accounts().await;
        let Some(owed) = self.owes(id, revocation) else {
            return Ok(None);
        };
        let since = self.clock.now();
        let stored = match self.store.integration(id).await {
            Err(error @ (StoreError::Altered { .. } | StoreError::Corrupt { .. })) => {
                tracing::error!(integration = %id, %error, "the record is deleted");
                None
            }
            stored => stored?,
        };
        let mut deleted = Deleted {
            unreadable: owed && stored.is_none(),
            ..Deleted::default()
        };
        // Whose grant it is, nobody knows, where somebody else wrote the record.
        if let Some(stored) = stored.filter(|_| owed) {
            let event = self.disconnect_event(result, actor, true);
            // As it is now, so that what is revoked is the grant that lives.
            let was_there = self
                .store
                .enqueue_revocation(id, since, vec![event.clone()])
                .await?;
            self.tell_of_lost_row(was_there, event);
            deleted.owed = Some(RevocationRecord {
                id: stored.id,
                owner: stored.owner,
                subject: stored.subject,
                account: stored.account,
                issuer_binding: stored.issuer_binding,
                since,
                secret: stored.secret,
            });
        } else {
            let event = self.disconnect_event(result, actor, false);
            let was_there = self.store.delete_integration(id, vec![event.clone()]).await?;
            self.tell_of_lost_row(was_there, event);
        }
        if let Some(owed) = &deleted.owed {
            self.revocations.enqueue_revocation(owed.clone());
        }
        self.unusable.forget(id.as_str());
        deleted.waiting = self.publisher.take_out_account(&mut self.registry.lock(), id);
        Ok(Some(deleted))
    }

    /// An account whose row was gone already goes all the same, and has its line.
    fn tell_of_lost_row(&self, was_there: bool, event: AuditEvent) {
        if !was_there {
            self.audit.record(event);
        }
    }

    /// Whether the account is to be revoked when it goes; `None` when it is gone.
    fn owes(&self, id: &IntegrationId, revocation: Revocation) -> Option<bool> {
        let registry = self.registry.lock();
        let record = &registry.accounts.get(id)?.record;
        Some(self.calls_for_revocation(&registry, record, revocation))
    }

    /// Whether an account's grant is to be revoked with it. A key is no grant: it ends where it was made.
    fn calls_for_revocation(
        &self,
        registry: &Registry,
        record: &IntegrationRecord,
        revocation: Revocation,
    ) -> bool {
        let grant = (&record.id, record.subject.as_str(), &*record.issuer_binding);
        !self.is_keyed(record) && revokes(registry, grant, revocation)
    }

    /// Where the owner of a grant can remove it.
    fn connections_of(&self, owed: &RevocationRecord) -> Option<String> {
        let provider = self.context.providers.bound_to(&owed.issuer_binding)?;
        provider.profile.origin.connections().map(str::to_owned)
    }

    /// True for an account of a key, which nobody can revoke from here. A provider that is gone had grants.
    fn is_keyed(&self, record: &IntegrationRecord) -> bool {
        let provider = self.context.providers.get(&record.provider);
        provider.is_some_and(|provider| provider.keys().is_some())
    }

    /// Revokes what was deleted when the renewal that is under way has ended: its answer may hold the grant that lives.
    /// Where that takes long, it is done later.
    async fn revoke_after(
        self: &Arc<Self>,
        renewal: impl Future<Output = Option<Turn>> + Send + 'static,
        owed: RevocationRecord,
        revocation: Revocation,
        actor: &Actor,
    ) -> Result<bool, DisconnectProblem> {
        let (this, actor) = (self.clone(), actor.clone());
        let work = async move {
            drop(renewal.await);
            this.revoke_now(owed, revocation, &actor).await
        };
        let paying = self.single_flight.spawn(work);
        tokio::time::timeout(RENEWAL_PATIENCE, paying).await.map_or_else(
            |_| Err(DisconnectProblem::AfterRenewal),
            |paid| paid.unwrap_or(Ok(false)),
        )
    }

    /// Revokes what was deleted. False when that is not called for any more.
    async fn revoke_now(
        &self,
        owed: RevocationRecord,
        revocation: Revocation,
        actor: &Actor,
    ) -> Result<bool, DisconnectProblem> {
        // Nobody connects the same account meanwhile, which revoking would end.
        let _alone = self.provider_accounts.lock(&owed.subject).await;
        // As it is by now: a renewal may have brought its successor.
        let Some(owed) = self.revocations.owed(&owed.id) else {
            return Ok(false);
        };
        let account = (&owed.id, owed.subject.as_str(), &*owed.issuer_binding);
        if !revokes(&self.registry.lock(), account, revocation) {
            self.revocations
                .complete_revocation(&owed, actor.clone(), RevocationEnding::ConnectedAgain)
                .await;
            return Ok(false);
        }
        match self.revocations.try_revoke(&owed).await {
            Attempt::Done => {
                self.revocations
                    .complete_revocation(&owed, actor.clone(), RevocationEnding::Revoked)
                    .await;
                Ok(true)
            }
            Attempt::Later(later) => {
                let problem = DisconnectProblem::NotYet(later.problem.clone());
                self.revocations.revoke_later(owed, later, 1);
                Err(problem)
            }
            Attempt::Never(fault) => {
                let problem = DisconnectProblem::Unrevoked {
                    fault: fault.clone(),
                    connections: self.connections_of(&owed),
                };
                self.revocations
                    .complete_revocation(&owed, actor.clone(), RevocationEnding::GivenUp(fault))
                    .await;
                Err(problem)
            }
        }
    }

    /// What the trail says of the deletion, in the same commit.
    fn disconnect_event(&self, result: &Disconnected, actor: &Actor, owed: bool) -> AuditEvent {
        let record = &result.account.record;
        let how = if owed {
            "forgotten here, and to be revoked at the provider"
        } else if self.is_keyed(record) {
            "its key was forgotten here and lives on at the provider"
        } else {
            "forgotten here"
        };
        AuditEvent {
            integration: Some(record.id.clone()),
            capabilities: result.account.capabilities.clone(),
            detail: format!("{} of {}: {how}", record.account, record.owner),
            concern: Concern::owner(&record.owner),
            ..AuditEvent::new(
                self.clock.now(),
                actor.clone(),
                EventKind::IntegrationDisconnected.as_str(),
                Decision::Allowed,
            )
        }
    }

    /// What of it did not work, in a line of its own.
    fn note_trouble(&self, result: &Disconnected, actor: &Actor, problem: &str) {
        let record = &result.account.record;
        tracing::warn!(integration = %record.id, owner = %record.owner, problem, "disconnecting");
        self.audit.record(AuditEvent {
            decision: Decision::Failed,
            detail: format!("{} of {}: {problem}", record.account, record.owner),
            ..self.disconnect_event(result, actor, false)
        });
    }

    /// Tells whoever watches.
    fn tell_disconnected(&self, result: &Disconnected) {
        let record = &result.account.record;
        let how = if result.revoked {
            "revoked at the provider"
        } else if self.is_keyed(record) {
            "its key was forgotten here and lives on at the provider"
        } else {
            "forgotten here"
        };
        let message = match result.problem() {
            Some(problem) => format!("{} of {}: {how}; {problem}", record.account, record.owner),
            None => format!("{} of {}: {how}", record.account, record.owner),
        };
        tracing::info!(integration = %record.id, owner = %record.owner, message, "account disconnected");
        self.events.emit(Event {
            time: self.clock.now(),
            kind: EventKind::IntegrationDisconnected,
            owner: Some(record.owner.clone()),
            agent: None,
            integration: Some(record.id.clone()),
            state: None,
            message,
            capabilities: result.account.capabilities.clone(),
            expires_at: None,
        });
    }
}

/// An account that was deleted.
#[derive(Default)]
struct Deleted {
    /// The grant as it was, where it is to be revoked.
    owed: Option<RevocationRecord>,
    /// It is to be revoked, and what its row held could not be read.
    unreadable: bool,
    /// The agents whose files have to be written.
    waiting: Vec<Told>,
}

/// Waits until the agents' files were written. A problem for each agent whose files were not.
async fn uncleared(waiting: Vec<Told>) -> Vec<DisconnectProblem> {
    let end = tokio::time::Instant::now() + DELIVERY_PATIENCE;
    let mut problems = Vec::new();
    for (handle, revision) in waiting {
        let delivered = tokio::time::timeout_at(end, handle.delivered(revision)).await;
        if delivered.is_err() || handle.delivery_problem().is_some() {
            problems.push(DisconnectProblem::NotCleared(handle.name().clone()));
        }
    }
    problems
}

fn agents_with_tokens(registry: &Registry, record: &IntegrationRecord) -> Vec<AgentName> {
    let uses = |name: &AgentName| {
        let entry = registry.agents.get(name);
        entry.is_some_and(|entry| entry.keys.iter().any(|key| key.integration == record.id))
    };
    registry
        .agents_of(&record.owner)
        .into_iter()
        .filter(uses)
        .collect()
}

/// Whether an account (its id, subject and issuer's binding) is to be revoked at the provider.
fn revokes(registry: &Registry, account: (&IntegrationId, &str, &str), revocation: Revocation) -> bool {
    let (id, subject, issuer_binding) = account;
    match revocation {
        Revocation::Never => false,
        Revocation::Always => true,
        Revocation::WhenLast => !registry.accounts.values().any(|other| {
            other.record.id != *id
                && other.record.subject == subject
                && *other.record.issuer_binding == *issuer_binding
        }),
    }
}
