//! Keeps what a person granted: in place of the grant before, if there was one.

use std::sync::Arc;

use super::{Broker, ConnectError, World, consents::Pending, turn::Turn};
use crate::{
    catalog::{IntegrationKind, ScopeSet},
    clock,
    google::{Identity, TokenAnswer},
    id::{IntegrationId, OwnerId},
    secret::RefreshToken,
    store::{Health, IntegrationRecord, StoreError},
    vault::Binding,
};

impl Broker {
    /// As long as this is held, no account is added or deleted.
    pub(super) async fn keeping_accounts(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.consents.keeping.lock().await
    }

    /// Commits the grant, then tells every agent of the owner.
    pub(super) async fn keep(
        self: &Arc<Self>,
        pending: &Pending,
        identity: Identity,
        granted: ScopeSet,
        answer: &TokenAnswer,
        refresh_token: &RefreshToken,
    ) -> Result<IntegrationId, ConnectError> {
        let (_turn, _keeping, existing) = self.hold_account_of(&pending.owner).await;
        if let Some(existing) = &existing
            && existing.subject != identity.subject
        {
            return Err(ConnectError::OtherAccount {
                owner: pending.owner.clone(),
                expected: existing.account.clone(),
                got: identity.email,
            });
        }
        let id = existing.map_or_else(|| IntegrationId::generate(&*self.entropy), |existing| existing.id);
        let replaces = self
            .store
            .integration(&id)
            .await
            .map_err(|error| ConnectError::Store(error.to_string()))?
            .map(|record| record.version);
        let now = self.now();
        let mut record = IntegrationRecord {
            secret: self
                .vault
                .seal(&Binding::RefreshToken(&id), refresh_token.expose().as_bytes()),
            id,
            kind: IntegrationKind::Google,
            owner: pending.owner.clone(),
            subject: identity.subject,
            account: identity.email,
            authority: self.around.authority.clone(),
            scopes: granted,
            health: Health::Active,
            version: replaces.unwrap_or_default(),
            connected_at: now,
            renewed_at: None,
            grant_expires_at: answer
                .refresh_token_expires_in
                .map(|life| clock::after(now, life)),
            renewal: None,
        };
        record.version = self
            .store
            .put_integration(record.clone(), replaces)
            .await
            .map_err(|error| ConnectError::Store(explain_store(&error)))?;
        let id = record.id.clone();
        let mut world = self.world();
        self.replace_account(&mut world, record);
        let agents = world.agents_of(&pending.owner);
        self.republish(&mut world, agents);
        Ok(id)
    }

    /// The owner's account, if there is one, with its turn: a renewal under way ends first, so that the version
    /// read now stays. Nobody else adds or removes an account meanwhile, and nobody waits for a slow one but
    /// its own owner.
    async fn hold_account_of(
        self: &Arc<Self>,
        owner: &OwnerId,
    ) -> (
        Option<Turn>,
        tokio::sync::MutexGuard<'_, ()>,
        Option<IntegrationRecord>,
    ) {
        let account = || {
            self.world()
                .accounts_of(owner)
                .next()
                .map(|account| account.record.clone())
        };
        loop {
            let before = account();
            let turn = match &before {
                Some(record) => self.turn(&record.id).await,
                None => None,
            };
            let keeping = self.keeping_accounts().await;
            let now = account();
            let settled = match (&turn, &now) {
                (Some(_), Some(now)) => before.is_some_and(|before| before.id == now.id),
                (None, None) => true,
                _ => false,
            };
            if settled {
                return (turn, keeping, now);
            }
        }
    }

    /// Takes over a grant in place of the one before, if any. The tokens of a grant that still worked are used
    /// until their successors come, as far as the new grant covers them: whoever adds a permission interrupts
    /// nobody.
    fn replace_account(&self, world: &mut World, record: IntegrationRecord) {
        let before = world.accounts.get(&record.id).map(|account| &account.record);
        let worked = before.is_some_and(|b| b.health == Health::Active && b.authority == record.authority);
        let id = record.id.clone();
        for key in world.keys_of(&id) {
            let Some(slot) = world.slots.get_mut(&key) else {
                continue;
            };
            slot.trouble = None;
            self.renewals.cancel(&key);
            if worked && key.scopes.is_subset(&record.scopes) {
                slot.superseded = slot.token.is_some();
                if !slot.users.is_empty() {
                    self.renewals.schedule(&key, self.now());
                }
                continue;
            }
            slot.token = None;
            self.expiries.cancel(&key);
            world.tidy(&key);
        }
        world.insert_account(record);
    }
}

fn explain_store(error: &StoreError) -> String {
    match error {
        StoreError::Conflict => {
            "another consent of the same owner ended at the same moment; begin again".to_owned()
        }
        other => other.to_string(),
    }
}
