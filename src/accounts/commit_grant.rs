//! Keeps what a person granted: in place of the grant before, if there was one.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    accounts::{
        connect_error::ConnectError,
        connect_target::Targets,
        consents::Consents,
        first_use::{FirstGrant, FirstUse},
        grant_request::{Expected, GrantCommitted, GrantRequest},
        not_kept::NotKept,
        tables::AccountTables,
        unusable_records::Unusable,
    },
    audit::{audit_writer::AuditWriter, repeats::Charged},
    capability::ScopeSet,
    clock,
    entropy::SharedEntropy,
    id::{CapabilityKey, IntegrationId, OwnerId, ProviderId},
    policy::{
        context::PolicyContext,
        former_names::{advice, agents_by_former},
    },
    provider::Identity,
    registry::{
        events::{Event, EventKind, Events},
        names,
        state::{Registry, SharedRegistry},
        time::BrokerClock,
    },
    renewal::{
        parts::Renewing,
        publisher::Publisher,
        services::Services,
        turns::{Turn, Turns},
    },
    revocation::{provider_accounts::ProviderAccounts, revocations::Revocations},
    store::{Health, IntegrationRecord, SharedStore, StoreError},
    telemetry::audit::{Actor, AuditEvent, Concern, Decision},
    text::same_address,
    vault::{Binding, Vault},
};

/// What the trail, and whoever watches, is told of an account that is kept.
pub(crate) struct Telling {
    pub(crate) actor: Actor,
    pub(crate) capabilities: Vec<CapabilityKey>,
    pub(crate) detail: String,
}

/// An account that nobody else renews, replaces or removes meanwhile.
pub(crate) struct AccountGuard<'a> {
    /// As it is; `None` when it is new.
    pub(crate) existing: Option<IntegrationRecord>,
    _turn: Option<Turn>,
    _keeping: tokio::sync::MutexGuard<'a, ()>,
}

/// Commits grants: one account at a time, in place of the grant before.
pub(crate) struct Grants {
    pub(crate) audit: Arc<AuditWriter>,
    pub(crate) clock: Arc<BrokerClock>,
    pub(crate) consents: Arc<Consents>,
    pub(crate) context: Arc<PolicyContext>,
    pub(crate) entropy: SharedEntropy,
    pub(crate) events: Events,
    pub(crate) provider_accounts: Arc<ProviderAccounts>,
    pub(crate) registry: Arc<SharedRegistry>,
    pub(crate) store: SharedStore,
    pub(crate) unusable: Arc<Unusable>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) first_use: Arc<FirstUse>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) targets: Arc<Targets>,
    pub(crate) turns: Arc<Turns>,
}

impl Grants {
    /// With what it needs of the parts before it.
    pub(crate) fn new(
        services: &Services,
        tables: &AccountTables,
        revocations: &Arc<Revocations>,
        renewing: &Renewing,
        first_use: &Arc<FirstUse>,
        targets: &Arc<Targets>,
    ) -> Arc<Self> {
        Arc::new(Self {
            audit: services.audit.clone(),
            clock: services.clock.clone(),
            consents: tables.consents.clone(),
            context: services.context.clone(),
            entropy: services.entropy.clone(),
            events: services.events.clone(),
            provider_accounts: tables.provider_accounts.clone(),
            registry: services.registry.clone(),
            store: services.store.clone(),
            unusable: tables.unusable.clone(),
            vault: services.vault.clone(),
            first_use: first_use.clone(),
            publisher: renewing.publisher.clone(),
            revocations: revocations.clone(),
            targets: targets.clone(),
            turns: renewing.turns.clone(),
        })
    }

    /// As long as this is held, no account is added or deleted.
    pub(crate) async fn keeping_accounts(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.consents.keeping.lock().await
    }

    /// Commits the grant with its line in the trail, which `tell` writes, then tells every agent of the owner.
    pub(crate) async fn commit_grant(
        self: &Arc<Self>,
        grant_request: &GrantRequest,
        identity: Identity,
        granted: ScopeSet,
        grant: &mut FirstGrant,
        tell: impl FnOnce(&GrantCommitted) -> Telling,
    ) -> Result<GrantCommitted, ConnectError> {
        // An older grant of the same account may be being revoked at this moment, which would end this one.
        let _alone = self.provider_accounts.lock(&identity.subject).await;
        if !self
            .first_use
            .survived(&grant_request.provider, grant, &identity.subject)
            .await
        {
            return Err(ConnectError::RevokedMeanwhile {
                at: self.context.name_of(&grant_request.provider),
                account: identity.email,
            });
        }
        let held = self
            .hold(|| self.targets.destination(grant_request, &identity))
            .await?;
        let existing = held.existing.as_ref();
        let before = existing.map(|existing| existing.scopes.clone());
        let provider = &grant_request.provider;
        let withdrawn = self.lost(provider, before.as_ref(), &granted);
        self.refuse_less(grant_request, existing, &withdrawn)?;
        let unasked = self.lost(
            provider,
            Some(&granted),
            &grant_request.assumed.union(&before.unwrap_or_default()),
        );
        let record = self.record_of(grant_request, existing, identity, granted, grant);
        let kept = GrantCommitted {
            account: record.id.clone(),
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
            .map_err(NotKept::from)?;
        Ok(kept)
    }

    /// The account as this grant makes it, in place of the one that there may be.
    fn record_of(
        &self,
        grant_request: &GrantRequest,
        existing: Option<&IntegrationRecord>,
        identity: Identity,
        granted: ScopeSet,
        grant: &FirstGrant,
    ) -> IntegrationRecord {
        let provider = &grant_request.provider;
        let declined_before = existing.map(|existing| existing.declined.clone());
        let id = self.id_of(existing);
        let now = self.clock.now();
        IntegrationRecord {
            secret: self
                .vault
                .seal(&Binding::RefreshToken(&id), grant.token.expose().as_bytes()),
            proof_key: grant
                .proof_key
                .as_ref()
                .map(|key| self.vault.seal(&Binding::ProofKey(&id), &key.to_pkcs8())),
            id,
            provider: provider.clone(),
            owner: grant_request.owner.clone(),
            subject: identity.subject,
            former: names::former(existing, &identity.email),
            account: identity.email,
            issuer_binding: self.binding_of(provider),
            declined: self.declined(
                provider,
                &declined_before.unwrap_or_default(),
                &grant_request.capabilities,
                &granted,
            ),
            scopes: granted,
            health: Health::Active,
            version: 0,
            connected_at: now,
            renewed_at: None,
            grant_expires_at: grant.expires_in.map(|life| clock::after(now, life)),
            renewal: None,
        }
    }

    /// What grants of this provider belong to.
    fn binding_of(&self, provider: &ProviderId) -> Arc<str> {
        let provider = self.context.providers.get(provider);
        provider.map_or_else(Arc::default, |provider| provider.issuer_binding.clone())
    }

    /// The id of the account that is replaced, or a new one.
    pub(crate) fn id_of(&self, existing: Option<&IntegrationRecord>) -> IntegrationId {
        existing.map_or_else(
            || IntegrationId::generate(&*self.entropy),
            |existing| existing.id.clone(),
        )
    }

    /// Commits an account that is held, in place of what was kept under its id, with its line in the trail, and tells
    /// every agent of the owner.
    pub(crate) async fn put_account(
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
            time: self.clock.now(),
            kind: EventKind::IntegrationConnected,
            owner: Some(record.owner.clone()),
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
        self.revocations
            .give_up_revocations(&record.subject, &record.issuer_binding)
            .await;
        let owner = record.owner.clone();
        {
            let mut registry = self.registry.lock();
            let id = record.id.clone();
            self.publisher.replace_account(&mut registry, record);
            let agents = registry.agents_of(&owner);
            self.publisher.republish(&mut registry, agents);
            self.tell_former_names(&registry, &id);
        }
        self.events.emit(told);
        Ok(())
    }

    /// The log says which manifests name an account by an address that it had before.
    fn tell_former_names(&self, registry: &Registry, id: &IntegrationId) {
        let Some(account) = registry.accounts.get(id) else {
            return;
        };
        let agents = agents_by_former(registry, &self.context, account);
        if !agents.is_empty() {
            let advice = advice(&account.record, &agents);
            tracing::warn!(integration = %id, owner = %account.record.owner, "{advice}");
        }
    }

    /// What `before` covers and `now` does not.
    fn lost(&self, provider: &ProviderId, before: Option<&ScopeSet>, now: &ScopeSet) -> Vec<CapabilityKey> {
        let Some(before) = before else {
            return Vec::new();
        };
        let now = self.context.catalog.covered_by(provider, now);
        let mut lost = self.context.catalog.covered_by(provider, before);
        lost.retain(|key| !now.contains(key));
        lost
    }

    /// A grant that works is not given up for one with less, unless the answer tells of the whole account: a
    /// desktop client's says nothing about the grant before, which goes on as it is.
    fn refuse_less(
        &self,
        grant_request: &GrantRequest,
        existing: Option<&IntegrationRecord>,
        lost: &[CapabilityKey],
    ) -> Result<(), ConnectError> {
        match existing.filter(|existing| self.publisher.works(existing)) {
            Some(existing) if !grant_request.cumulative && !lost.is_empty() => Err(ConnectError::Narrower {
                account: existing.account.clone(),
                lost: lost.to_vec(),
            }),
            _ => Ok(()),
        }
    }

    /// What was asked for, now or before, and is not granted.
    fn declined(
        &self,
        provider: &ProviderId,
        before: &[CapabilityKey],
        asked: &[CapabilityKey],
        granted: &ScopeSet,
    ) -> Arc<[CapabilityKey]> {
        let covered = self.context.catalog.covered_by(provider, granted);
        let all: BTreeSet<&CapabilityKey> = before.iter().chain(asked).collect();
        let open = all.into_iter().filter(|key| !covered.contains(key));
        open.cloned().collect()
    }

    /// The person said no to an account's new permissions: the grant stays, and it is remembered what was
    /// asked for.
    pub(crate) async fn note_declined(&self, grant_request: &GrantRequest) {
        let Expected::Connected(id) = &grant_request.expected else {
            return;
        };
        let _keeping = self.keeping_accounts().await;
        let declined = {
            let registry = self.registry.lock();
            let Some(account) = registry.accounts.get(id) else {
                return;
            };
            let record = &account.record;
            self.declined(
                &record.provider,
                &record.declined,
                &grant_request.capabilities,
                &record.scopes,
            )
        };
        if let Err(error) = self.store.set_declined(id, declined.clone()).await {
            tracing::error!(integration = %id, %error, "what was declined could not be stored");
        }
        let mut registry = self.registry.lock();
        let Some(account) = registry.accounts.get_mut(id) else {
            return;
        };
        account.record.declined = declined;
        let agents = registry.agents_of(&grant_request.owner);
        self.publisher.republish(&mut registry, agents);
    }

    /// Holds the account that `find` finds, if it is there, with its turn: a renewal under way ends first, so that the
    /// version read now stays. Nobody else adds or removes an account meanwhile, and nobody waits for a slow one but
    /// its own owner.
    pub(crate) async fn hold<E>(
        self: &Arc<Self>,
        find: impl Fn() -> Result<Option<IntegrationRecord>, E>,
    ) -> Result<AccountGuard<'_>, E> {
        loop {
            let before = find()?;
            let turn = match &before {
                Some(record) => self.turns.turn(&record.id).await,
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
                return Ok(AccountGuard {
                    existing,
                    _turn: turn,
                    _keeping: keeping,
                });
            }
        }
    }
}

impl Grants {
    /// Records that an account was to be connected, and was not.
    pub(crate) fn note_unconnected(
        &self,
        actor: Actor,
        owner: &OwnerId,
        capabilities: Vec<CapabilityKey>,
        decision: Decision,
        detail: String,
    ) {
        let action = EventKind::IntegrationConnected.as_str();
        let event = AuditEvent {
            capabilities,
            detail,
            concern: Concern::owner(owner),
            ..AuditEvent::new(self.clock.now(), actor, action, decision)
        };
        if matches!(event.actor, Actor::Person(_)) {
            let what = "an account was to be connected, and was not";
            self.audit
                .record_repeatable(event, what, &Charged::Known(owner.as_str()));
        } else {
            self.audit.record(event);
        }
    }
}
