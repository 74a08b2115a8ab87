//! Keeps what a person granted: in place of the grant before, if there was one.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Broker, ConnectError, Event, EventKind, World, connect::Expected, first_use::FirstGrant, names,
    turn::Turn,
};
use crate::{
    catalog::{IntegrationKind, ScopeSet},
    clock,
    google::Identity,
    id::{CapabilityKey, IntegrationId, OwnerId},
    store::{Health, IntegrationRecord, StoreError},
    telemetry::audit::{Actor, AuditEvent, Concern, Decision},
    text::same_address,
    vault::Binding,
};

/// What a grant is to be kept for.
pub(super) struct Claim {
    pub(super) owner: OwnerId,
    /// Which account it has to be of.
    pub(super) expected: Expected,
    /// What the grant holds where the answer does not say (RFC 6749, section 5.1).
    pub(super) assumed: ScopeSet,
    /// The answer tells of earlier grants as well.
    pub(super) cumulative: bool,
    /// What was asked for.
    pub(super) capabilities: Vec<CapabilityKey>,
}

/// A grant that is kept.
pub(super) struct Kept {
    pub(super) account: IntegrationId,
    /// The account's address.
    pub(super) address: String,
    /// The address that it had until now, where that is another.
    pub(super) renamed_from: Option<String>,
    /// It takes the place of the grant that was here.
    pub(super) replaced: bool,
    /// Granted before, and not any more.
    pub(super) withdrawn: Vec<CapabilityKey>,
    /// Granted now, though nobody asked for it.
    pub(super) unasked: Vec<CapabilityKey>,
}

/// What the trail, and whoever watches, is told of an account that is kept.
pub(super) struct Telling {
    pub(super) actor: Actor,
    pub(super) capabilities: Vec<CapabilityKey>,
    pub(super) detail: String,
}

/// An account that nobody else renews, replaces or removes meanwhile.
pub(super) struct Held<'a> {
    /// As it is; `None` when it is new.
    pub(super) existing: Option<IntegrationRecord>,
    _turn: Option<Turn>,
    _keeping: tokio::sync::MutexGuard<'a, ()>,
}

impl Broker {
    /// As long as this is held, no account is added or deleted.
    pub(super) async fn keeping_accounts(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.consents.keeping.lock().await
    }

    /// Commits the grant with its line in the trail, which `tell` writes, then tells every agent of the owner.
    pub(super) async fn keep(
        self: &Arc<Self>,
        claim: &Claim,
        identity: Identity,
        granted: ScopeSet,
        grant: &mut FirstGrant,
        tell: impl FnOnce(&Kept) -> Telling,
    ) -> Result<Kept, ConnectError> {
        // An older grant of the same account may be being revoked at this moment, which would end this one.
        let _alone = self.provider_accounts.lock(&identity.subject).await;
        if !self.survived(grant, &identity.subject).await {
            return Err(ConnectError::RevokedMeanwhile(identity.email));
        }
        let held = self.hold(|| self.destination(claim, &identity)).await?;
        let existing = held.existing.as_ref();
        let before = existing.map(|existing| existing.scopes.clone());
        let withdrawn = self.lost(before.as_ref(), &granted);
        self.refuse_less(claim, existing, &withdrawn)?;
        let unasked = self.lost(Some(&granted), &claim.assumed.union(&before.unwrap_or_default()));
        let declined = existing.map(|existing| existing.declined.clone());
        let declined = self.declined(&declined.unwrap_or_default(), &claim.capabilities, &granted);
        let id = self.id_of(existing);
        let now = self.now();
        let record = IntegrationRecord {
            secret: self
                .vault
                .seal(&Binding::RefreshToken(&id), grant.token.expose().as_bytes()),
            id: id.clone(),
            kind: IntegrationKind::Google,
            owner: claim.owner.clone(),
            subject: identity.subject,
            former: names::former(existing, &identity.email),
            account: identity.email,
            authority: self.around.authority.clone(),
            scopes: granted,
            declined,
            health: Health::Active,
            version: 0,
            connected_at: now,
            renewed_at: None,
            grant_expires_at: grant.expires_in.map(|life| clock::after(now, life)),
            renewal: None,
        };
        let kept = Kept {
            account: id,
            address: record.account.clone(),
            renamed_from: existing
                .map(|existing| existing.account.clone())
                .filter(|before| !same_address(before, &record.account)),
            replaced: held.existing.is_some(),
            withdrawn,
            unasked,
        };
        self.put_account(record, tell(&kept))
            .await
            .map_err(|error| ConnectError::Store(explain_store(&error)))?;
        Ok(kept)
    }

    /// The id of the account that is replaced, or a new one.
    pub(super) fn id_of(&self, existing: Option<&IntegrationRecord>) -> IntegrationId {
        existing.map_or_else(
            || IntegrationId::generate(&*self.entropy),
            |existing| existing.id.clone(),
        )
    }

    /// Commits an account that is held, in place of what was kept under its id, with its line in the trail, and tells
    /// every agent of the owner.
    pub(super) async fn put_account(
        &self,
        mut record: IntegrationRecord,
        telling: Telling,
    ) -> Result<(), StoreError> {
        let replaces = match self.store.integration(&record.id).await {
            // What takes its place owes nothing to it.
            Err(error @ (StoreError::Altered { .. } | StoreError::Corrupt { .. })) => {
                tracing::error!(integration = %record.id, %error, "the record is replaced");
                self.store.delete_integration(&record.id, Vec::new()).await?;
                None
            }
            stored => stored?.map(|stored| stored.version),
        };
        record.version = replaces.unwrap_or_default();
        let told = Event {
            time: self.now(),
            kind: EventKind::IntegrationConnected,
            agent: None,
            integration: Some(record.id.clone()),
            state: None,
            message: telling.detail,
            capabilities: telling.capabilities,
            expires_at: None,
        };
        let event = AuditEvent {
            integration: told.integration.clone(),
            capabilities: told.capabilities.clone(),
            detail: told.message.clone(),
            concern: Concern::owner(&record.owner),
            ..AuditEvent::new(told.time, telling.actor, told.kind.as_str(), Decision::Allowed)
        };
        record.version = self
            .store
            .put_integration(record.clone(), replaces, vec![event])
            .await?;
        self.unusable.forget(record.id.as_str());
        self.give_up_revocations(&record.subject).await;
        let owner = record.owner.clone();
        {
            let mut world = self.world();
            let id = record.id.clone();
            self.replace_account(&mut world, record);
            let agents = world.agents_of(&owner);
            self.republish(&mut world, agents);
            self.tell_former_names(&world, &id);
        }
        self.emit(told);
        Ok(())
    }

    /// The log says which manifests name an account by an address that it had before.
    fn tell_former_names(&self, world: &World, id: &IntegrationId) {
        let Some(account) = world.accounts.get(id) else {
            return;
        };
        let agents = names::agents_by_former(world, &self.around, account);
        if !agents.is_empty() {
            let advice = names::advice(&account.record, &agents);
            tracing::warn!(integration = %id, owner = %account.record.owner, "{advice}");
        }
    }

    /// The grant worked when it was last used, and belongs to the client and endpoint that are configured.
    pub(super) fn works(&self, record: &IntegrationRecord) -> bool {
        record.health == Health::Active && record.authority == *self.around.authority_of(record.kind)
    }

    /// What `before` covers and `now` does not.
    fn lost(&self, before: Option<&ScopeSet>, now: &ScopeSet) -> Vec<CapabilityKey> {
        let Some(before) = before else {
            return Vec::new();
        };
        let now = self.catalog().covered_by(IntegrationKind::Google, now);
        let mut lost = self.catalog().covered_by(IntegrationKind::Google, before);
        lost.retain(|key| !now.contains(key));
        lost
    }

    /// A grant that works is not given up for one with less, unless the answer tells of the whole account: a
    /// desktop client's says nothing about the grant before, which goes on as it is.
    fn refuse_less(
        &self,
        claim: &Claim,
        existing: Option<&IntegrationRecord>,
        lost: &[CapabilityKey],
    ) -> Result<(), ConnectError> {
        match existing.filter(|existing| self.works(existing)) {
            Some(existing) if !claim.cumulative && !lost.is_empty() => Err(ConnectError::Narrower {
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
        let covered = self.catalog().covered_by(IntegrationKind::Google, granted);
        let all: BTreeSet<&CapabilityKey> = before.iter().chain(asked).collect();
        let open = all.into_iter().filter(|key| !covered.contains(key));
        open.cloned().collect()
    }

    /// The person said no to an account's new permissions: the grant stays, and it is remembered what was
    /// asked for.
    pub(super) async fn note_declined(&self, claim: &Claim) {
        let Expected::Connected(id) = &claim.expected else {
            return;
        };
        let _keeping = self.keeping_accounts().await;
        let declined = {
            let world = self.world();
            let Some(account) = world.accounts.get(id) else {
                return;
            };
            let record = &account.record;
            self.declined(&record.declined, &claim.capabilities, &record.scopes)
        };
        if let Err(error) = self.store.set_declined(id, declined.clone()).await {
            tracing::error!(integration = %id, %error, "what was declined could not be stored");
        }
        let mut world = self.world();
        let Some(account) = world.accounts.get_mut(id) else {
            return;
        };
        account.record.declined = declined;
        let agents = world.agents_of(&claim.owner);
        self.republish(&mut world, agents);
    }

    /// Holds the account that `find` finds, if it is there, with its turn: a renewal under way ends first, so that the
    /// version read now stays. Nobody else adds or removes an account meanwhile, and nobody waits for a slow one but
    /// its own owner.
    pub(super) async fn hold<E>(
        self: &Arc<Self>,
        find: impl Fn() -> Result<Option<IntegrationRecord>, E>,
    ) -> Result<Held<'_>, E> {
        loop {
            let before = find()?;
            let turn = match &before {
                Some(record) => self.turn(&record.id).await,
                None => None,
            };
            let keeping = self.keeping_accounts().await;
            let existing = find()?;
            let settled = match (&turn, &existing) {
                (Some(_), Some(now)) => before.is_some_and(|before| before.id == now.id),
                (None, None) => true,
                _ => false,
            };
            if settled {
                return Ok(Held {
                    existing,
                    _turn: turn,
                    _keeping: keeping,
                });
            }
        }
    }

    /// Takes over a grant in place of the one before, if any. The tokens of a grant that still worked are used
    /// until their successors come, as far as the new grant covers them: whoever adds a permission interrupts
    /// nobody.
    fn replace_account(&self, world: &mut World, record: IntegrationRecord) {
        let before = world.accounts.get(&record.id).map(|account| &account.record);
        // Tokens that speak for somebody else have to go at once.
        let worked = before.is_some_and(|before| self.works(before) && before.subject == record.subject);
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
                    self.renewals.schedule(&key, self.uptime());
                }
                continue;
            }
            slot.token = None;
            self.expiries.cancel(&key);
            world.tidy(&key);
        }
        world.insert_account(record, self.moment());
        if let Some(account) = world.accounts.get(&id) {
            self.schedule_ending(account);
        }
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
