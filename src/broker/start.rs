//! From what the store holds to a broker that serves, without asking the provider for anything that is
//! still alive.

use std::{collections::HashSet, sync::Arc};

use super::{
    agents::holders::Holders,
    service::Broker,
    stored_time::{self, StoredTime},
};
use crate::{
    accounts::tables::AccountTables,
    broker::composition,
    capability::ScopeSet,
    id::AgentName,
    manifest::Manifest,
    registry::{
        handle::{self, ChangeReceiver},
        keys::TokenKey,
        snapshot::IssuedToken,
        state::{AgentSource, Registry},
    },
    renewal::{
        options::{BrokerOptions, BrokerParts},
        services::Services,
    },
    revocation::revocations::Revocations,
    secret::AccessToken,
    store::{Contents, Health, IntegrationRecord, TokenRecord},
    vault::Binding,
};

/// There are many accounts and few sets of scopes: equal ones are kept once.
#[derive(Default)]
struct ScopeSets(HashSet<ScopeSet>);

impl ScopeSets {
    fn share(&mut self, set: &mut ScopeSet) {
        match self.0.get(set) {
            Some(known) => known.clone_into(set),
            None => {
                self.0.insert(set.clone());
            }
        }
    }
}

impl Broker {
    /// A broker with everything that `contents` holds. Nothing is renewed before [`Broker::run`].
    pub fn start(
        options: BrokerOptions,
        parts: BrokerParts,
        mut contents: Contents,
    ) -> (Arc<Self>, ChangeReceiver) {
        let (changes, receiver) = handle::changes();
        let holders = Holders::new(options.agent_secrets, std::mem::take(&mut contents.holders));
        let services = Services::new(options, parts, changes);
        let tables = AccountTables::default();
        tables.unusable.note(std::mem::take(&mut contents.unusable));
        let broker = Self::compose(services, &tables, holders, &contents);
        broker.take_over(contents, &tables.unusable.agents());
        (Arc::new(broker), receiver)
    }

    fn compose(services: Services, tables: &AccountTables, holders: Holders, contents: &Contents) -> Self {
        let revocations = Revocations::new(&services, &tables.provider_accounts);
        let renewing = composition::renewing(&services, &revocations);
        let accounts = composition::accounts(&services, tables, &revocations, &renewing);
        let agents = composition::agents(&services, &tables.unusable, holders, &renewing);
        Self {
            accounts: accounts.account_list,
            account_checks: accounts.account_checks,
            agent_list: agents.agent_list,
            agents: agents.agents,
            authenticator: agents.authenticator,
            connect: accounts.connect,
            disconnect: accounts.disconnect,
            holders: agents.holder_keeper,
            import: accounts.import,
            issuer: agents.issuer,
            journal: agents.journal,
            restored: accounts.restored,
            revocations,
            security_events: accounts.security_events,
            service_accounts: accounts.service_accounts,
            unusable: accounts.unusable_accounts,
            publisher: renewing.publisher,
            recovery: renewing.recovery,
            renewals: renewing.renewals,
            last_moment: stored_time::last_moment(&services.clock, &contents.tokens),
            services,
        }
    }

    fn take_over(&self, contents: Contents, unusable: &[AgentName]) {
        for record in contents.revocations {
            self.revocations.take_over(record);
        }
        let mut registry = self.services.registry.lock();
        let mut sets = ScopeSets::default();
        for record in contents.integrations {
            self.take_over_account(&mut registry, &mut sets, record);
        }
        let time = StoredTime::new(&self.services.clock, &contents.tokens);
        self.restored.hold_unchecked(&mut registry, &contents.unchecked);
        for mut record in contents.tokens {
            sets.share(&mut record.requested);
            sets.share(&mut record.granted);
            self.take_over_token(&mut registry, &time, record);
        }
        for name in unusable {
            self.agents.keep_unusable(&mut registry, name);
        }
        for agent in contents.agents {
            match Manifest::from_json(&agent.manifest) {
                Ok(manifest) => {
                    self.agents
                        .upsert(&mut registry, Arc::new(manifest), AgentSource::Api);
                }
                Err(error) => {
                    tracing::error!(agent = %agent.name, %error, "an agent in the database was left alone");
                    self.agents.keep_unusable(&mut registry, &agent.name);
                }
            }
        }
    }

    fn take_over_account(
        &self,
        registry: &mut Registry,
        sets: &mut ScopeSets,
        mut record: IntegrationRecord,
    ) {
        if let Some(cut) = &record.renewal {
            tracing::warn!(
                integration = %record.id, begun = %cut.started_at,
                "a renewal was cut off between its beginning and its end; it is tried once more"
            );
        }
        // The record in memory says what is so; the sealed grant is read where it is needed.
        let empty = || crate::vault::Sealed::from_bytes(Vec::new());
        record.secret = empty();
        // Whether there is one is known.
        record.proof_key = record.proof_key.map(|_| empty());
        let context = &self.services.context;
        let provider = context.providers.get(&record.provider);
        let keyed = provider.is_some_and(|provider| provider.keys().is_some());
        if keyed && record.subject == record.account {
            // Nobody granted it anything: it may ask for whatever the catalogue has by now.
            record.scopes = context.catalog.scopes_of(&record.provider);
        }
        sets.share(&mut record.scopes);
        if let Some(provider) = provider.filter(|known| known.issuer_binding == record.issuer_binding) {
            // Equal texts share their memory.
            record.provider = provider.id().clone();
            record.issuer_binding = provider.issuer_binding.clone();
        }
        let id = record.id.clone();
        registry.insert_account(record, self.services.clock.moment());
        if let Some(account) = registry.accounts.get(&id) {
            self.publisher.schedule_ending(account);
        }
    }

    fn take_over_token(&self, registry: &mut Registry, time: &StoredTime<'_>, record: TokenRecord) {
        let Some(account) = registry.accounts.get(&record.integration) else {
            return;
        };
        if account.record.health != Health::Active {
            return;
        }
        let Some((issued_at, expires_at)) = time.life(&record) else {
            return;
        };
        let key = TokenKey {
            integration: record.integration,
            scopes: record.requested,
        };
        let opened = self.services.vault.open(
            &Binding::AccessToken {
                integration: &key.integration,
                requested: &key.scopes,
            },
            &record.secret,
        );
        let Some(text) = opened
            .ok()
            .and_then(|plain| std::str::from_utf8(&plain).ok().map(AccessToken::from))
        else {
            tracing::warn!(integration = %key.integration, "a stored token cannot be opened; a new one is obtained");
            return;
        };
        let token = Arc::new(IssuedToken {
            access_token: text,
            integration: key.integration.clone(),
            scopes: record.granted,
            issued_at,
            expires_at,
        });
        self.services
            .expiries
            .schedule(&key, token.next_change(self.services.clock.uptime()));
        registry.tokens.make(&key).token = Some(token);
    }
}
