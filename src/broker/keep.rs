//! Keeps what a person granted: in place of the grant before, if there was one.

use std::{collections::BTreeSet, sync::Arc};

use super::{Broker, ConnectError, World, connect::Expected, consents::Pending, turn::Turn};
use crate::{
    catalog::{IntegrationKind, ScopeSet},
    clock,
    google::{Identity, TokenAnswer},
    id::{CapabilityKey, IntegrationId},
    secret::RefreshToken,
    store::{Health, IntegrationRecord, StoreError},
    vault::Binding,
};

/// A grant that was kept.
pub(super) struct Kept {
    pub(super) account: IntegrationId,
    /// Granted before, and not any more.
    pub(super) withdrawn: Vec<CapabilityKey>,
    /// Granted now, though nobody asked for it.
    pub(super) unasked: Vec<CapabilityKey>,
}

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
    ) -> Result<Kept, ConnectError> {
        let (_turn, _keeping, existing) = self.hold_account(pending, &identity).await?;
        let before = existing.as_ref().map(|existing| existing.scopes.clone());
        let withdrawn = self.lost(before.as_ref(), &granted);
        self.refuse_less(pending, existing.as_ref(), &withdrawn)?;
        let unasked = self.lost(
            Some(&granted),
            &pending.assumed.union(&before.unwrap_or_default()),
        );
        let declined = existing.as_ref().map(|existing| existing.declined.clone());
        let declined = self.declined(&declined.unwrap_or_default(), &pending.capabilities, &granted);
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
            declined,
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
        self.give_up_revocations(&record.subject).await;
        let id = record.id.clone();
        let mut world = self.world();
        self.replace_account(&mut world, record);
        let agents = world.agents_of(&pending.owner);
        self.republish(&mut world, agents);
        Ok(Kept {
            account: id,
            withdrawn,
            unasked,
        })
    }

    /// The grant worked when it was last used, and belongs to the client and endpoint that are configured.
    pub(super) fn works(&self, record: &IntegrationRecord) -> bool {
        record.health == Health::Active && record.authority == self.around.authority
    }

    /// What `before` covers and `now` does not.
    fn lost(&self, before: Option<&ScopeSet>, now: &ScopeSet) -> Vec<CapabilityKey> {
        let Some(before) = before else {
            return Vec::new();
        };
        let now = self.catalog().covered_by(now);
        let mut lost = self.catalog().covered_by(before);
        lost.retain(|key| !now.contains(key));
        lost
    }

    /// A grant that works is not given up for one with less, unless the answer tells of the whole account: a
    /// desktop client's says nothing about the grant before, which goes on as it is.
    fn refuse_less(
        &self,
        pending: &Pending,
        existing: Option<&IntegrationRecord>,
        lost: &[CapabilityKey],
    ) -> Result<(), ConnectError> {
        match existing.filter(|existing| self.works(existing)) {
            Some(existing) if !pending.cumulative && !lost.is_empty() => Err(ConnectError::Narrower {
                account: existing.account.clone(),
                lost: lost.to_vec(),
            }),
            _ => Ok(()),
        }
    }

    /// What was asked for, now or before, and is not granted.
    fn declined(
        &self,
        before: &[CapabilityKey],
        asked: &[CapabilityKey],
        granted: &ScopeSet,
    ) -> Arc<[CapabilityKey]> {
        let covered = self.catalog().covered_by(granted);
        let all: BTreeSet<&CapabilityKey> = before.iter().chain(asked).collect();
        let open = all.into_iter().filter(|key| !covered.contains(key));
        open.cloned().collect()
    }

    /// The person said no to an account's new permissions: the grant stays, and it is remembered what was
    /// asked for.
    pub(super) async fn note_declined(&self, pending: &Pending) {
        let Expected::Connected(id) = &pending.expected else {
            return;
        };
        let _keeping = self.keeping_accounts().await;
        let declined = {
            let world = self.world();
            let Some(account) = world.accounts.get(id) else {
                return;
            };
            let record = &account.record;
            self.declined(&record.declined, &pending.capabilities, &record.scopes)
        };
        if let Err(error) = self.store.set_declined(id, declined.clone()).await {
            tracing::error!(integration = %id, %error, "what was declined could not be stored");
        }
        let mut world = self.world();
        let Some(account) = world.accounts.get_mut(id) else {
            return;
        };
        account.record.declined = declined;
        let agents = world.agents_of(&pending.owner);
        self.republish(&mut world, agents);
    }

    /// The account that the consent is for, if it is connected, with its turn: a renewal under way ends first,
    /// so that the version read now stays. Nobody else adds or removes an account meanwhile, and nobody waits
    /// for a slow one but its own owner.
    async fn hold_account(
        self: &Arc<Self>,
        pending: &Pending,
        identity: &Identity,
    ) -> Result<
        (
            Option<Turn>,
            tokio::sync::MutexGuard<'_, ()>,
            Option<IntegrationRecord>,
        ),
        ConnectError,
    > {
        loop {
            let before = self.destination(pending, identity)?;
            let turn = match &before {
                Some(record) => self.turn(&record.id).await,
                None => None,
            };
            let keeping = self.keeping_accounts().await;
            let now = self.destination(pending, identity)?;
            let settled = match (&turn, &now) {
                (Some(_), Some(now)) => before.is_some_and(|before| before.id == now.id),
                (None, None) => true,
                _ => false,
            };
            if settled {
                return Ok((turn, keeping, now));
            }
        }
    }

    /// Takes over a grant in place of the one before, if any. The tokens of a grant that still worked are used
    /// until their successors come, as far as the new grant covers them: whoever adds a permission interrupts
    /// nobody.
    fn replace_account(&self, world: &mut World, record: IntegrationRecord) {
        let before = world.accounts.get(&record.id).map(|account| &account.record);
        let worked = before.is_some_and(|before| self.works(before));
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
