//! Letting go of an account: first its tokens leave every agent, then the grant is deleted, then it is revoked.

use std::{sync::Arc, time::Duration};

use super::{
    AccountError, AccountRef, AccountView, AgentHandle, Broker, Event, EventKind,
    choice::find,
    revocations::Attempt,
    world::{Account, World},
};
use crate::{
    catalog::IntegrationKind,
    id::{AgentName, IntegrationId},
    store::{IntegrationRecord, RevocationRecord, StoreError},
    telemetry::audit::{Actor, AuditEvent, Concern, Decision},
    vault::Sealed,
};

/// How long a disconnect waits for the agents' files; a directory that cannot be written holds it no longer.
pub(super) const DELIVERY_PATIENCE: Duration = Duration::from_secs(5);

/// An agent, and the revision of its snapshot that it has to be told.
type Told = (Arc<AgentHandle>, u64);

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
    pub problem: Option<String>,
}

impl Broker {
    /// What letting go of an account would do.
    pub fn preview_disconnect(
        &self,
        which: &AccountRef,
        revocation: Revocation,
    ) -> Result<Disconnected, AccountError> {
        let world = self.world();
        let account = find(&world, which)?;
        Ok(Disconnected {
            account: self.account_view(&world, account),
            agents: agents_with_tokens(&world, &account.record),
            revoked: {
                let record = &account.record;
                // A service account has no grant to revoke: its key ends where it was made.
                record.kind != IntegrationKind::GoogleServiceAccount
                    && revokes(
                        &world,
                        (&record.id, &record.subject, &record.authority),
                        revocation,
                    )
            },
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
                .ok_or_else(|| AccountError::Unknown(format!("there is no integration {id}")))?
        };
        let mut problems = uncleared(waiting).await;
        // A renewal under way may be rotating the grant: let it end, but not hold the deletion for long.
        let turn = tokio::time::timeout(DELIVERY_PATIENCE, account.turn.clone().lock_owned()).await;
        let stored = match self.delete_account(&id, result.revoked).await {
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
        if result.revoked {
            result.revoked = false;
            match stored {
                Some(owed) => match self.pay(&owed, revocation).await {
                    Ok(revoked) => result.revoked = revoked,
                    Err(problem) => problems.push(problem),
                },
                None => problems.push(unrevoked("its record could not be read")),
            }
        }
        if account.record.kind == IntegrationKind::GoogleServiceAccount && revocation == Revocation::Always {
            problems.push(
                "a service account has no grant to revoke: delete its key in the Google Cloud console"
                    .to_owned(),
            );
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

    /// Deletes an account's row, and in the same commit keeps what is to be revoked: a crash does not forget it.
    /// Returns the grant as it was, so that what is revoked is the one that lives.
    async fn delete_account(
        &self,
        id: &IntegrationId,
        owed: bool,
    ) -> Result<Option<RevocationRecord>, StoreError> {
        // A consent that was being kept when the account was taken out has put it back: it goes again.
        let _keeping = self.keeping_accounts().await;
        let since = self.now();
        let stored = match self.store.integration(id).await {
            Err(error @ (StoreError::Altered { .. } | StoreError::Corrupt { .. })) => {
                tracing::error!(integration = %id, %error, "the record is deleted");
                None
            }
            stored => stored?,
        };
        // Whose grant it is, nobody knows, where somebody else wrote the record.
        if owed && stored.is_some() {
            self.store.owe_revocation(id, since).await?;
        } else {
            self.store.delete_integration(id).await?;
        }
        self.unusable.forget(id.as_str());
        self.take_out_account(&mut self.world(), id);
        Ok(stored.map(|stored| RevocationRecord {
            id: stored.id,
            owner: stored.owner,
            subject: stored.subject,
            account: stored.account,
            authority: stored.authority,
            since,
            secret: stored.secret,
        }))
    }

    /// Revokes what was deleted. False when that is not called for any more.
    async fn pay(&self, owed: &RevocationRecord, revocation: Revocation) -> Result<bool, String> {
        // Nobody connects the same account meanwhile, which revoking would end.
        let _keeping = self.keeping_accounts().await;
        if !revokes(
            &self.world(),
            (&owed.id, &owed.subject, &owed.authority),
            revocation,
        ) {
            self.forget_revocation(owed).await;
            return Ok(false);
        }
        match self.try_revoke(owed).await {
            Attempt::Done => {
                self.forget_revocation(owed).await;
                Ok(true)
            }
            Attempt::Later(reason, retry_after) => {
                let problem = format!(
                    "the grant could not be revoked at the provider yet, which is tried until it is done \
                     (`token-broker integrations list` shows it): {reason}"
                );
                self.revoke_later(owed.clone(), reason, 1, retry_after);
                Err(problem)
            }
            Attempt::Never(reason) => {
                self.forget_revocation(owed).await;
                Err(unrevoked(&reason))
            }
        }
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

    fn note_disconnect(&self, result: &Disconnected, actor: Actor) {
        let record = &result.account.record;
        let how = if result.revoked {
            "revoked at the provider"
        } else if record.kind == IntegrationKind::GoogleServiceAccount {
            "its key was forgotten here and lives on at the provider"
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
            concern: Concern::owner(&record.owner),
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
        let entry = world.agents.get(name);
        entry.is_some_and(|entry| entry.keys.iter().any(|key| key.integration == record.id))
    };
    world.agents_of(&record.owner).into_iter().filter(uses).collect()
}

fn unrevoked(reason: &str) -> String {
    format!(
        "the grant could not be revoked at the provider ({reason}): the owner can remove it at \
         https://myaccount.google.com/connections"
    )
}

/// Whether an account (its id, subject and authority) is to be revoked at the provider.
fn revokes(world: &World, account: (&IntegrationId, &str, &str), revocation: Revocation) -> bool {
    let (id, subject, authority) = account;
    match revocation {
        Revocation::Never => false,
        Revocation::Always => true,
        Revocation::WhenLast => !world.accounts.values().any(|other| {
            other.record.id != *id && other.record.subject == subject && *other.record.authority == *authority
        }),
    }
}
