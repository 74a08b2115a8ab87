//! From what the store holds to a broker that serves, without asking the provider for anything that is
//! still alive.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use tokio::sync::{Semaphore, broadcast};

use super::{
    Broker, BrokerClock, BrokerOptions, BrokerParts, ChangeReceiver, Consents, Flights, Holders, IssuedToken,
    ProviderAccounts, Queue, Recorder, Recovery, Revocations, Rotation, Surroundings, TokenKey, Unkept,
    Unusable, World,
    asks::Asks,
    handle,
    revocations::Later,
    stored_time::{self, StoredTime},
    world::AgentSource,
};
use crate::{
    agent::Manifest,
    budget::{Budget, table::NARROWED_TOKENS},
    catalog::{IntegrationKind, ScopeSet},
    secret::AccessToken,
    store::{Contents, Health, TokenRecord},
    vault::Binding,
};

/// Events that a slow watcher may lag behind.
const EVENTS: usize = 1024;

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
        let around = Surroundings {
            catalog: parts.catalog,
            public_url: options.public_url.clone(),
            authority: parts.provider.authority().into(),
            token_endpoint: parts.provider.token_endpoint().into(),
        };
        let clock = BrokerClock::new(parts.clock.clone());
        let last_moment = stored_time::last_moment(&clock, &contents.tokens);
        let recorder = Recorder::start(parts.store.clone(), parts.clock, parts.metrics.clone());
        let broker = Arc::new(Self {
            clock,
            last_moment,
            entropy: parts.entropy,
            store: parts.store,
            rotation: Rotation::new(parts.provider.keeps_grants()),
            provider: parts.provider,
            vault: parts.vault,
            metrics: parts.metrics,
            around,
            world: Mutex::new(World::default()),
            renewals: Queue::default(),
            expiries: Queue::default(),
            checks: Queue::default(),
            endings: Queue::default(),
            flights: Flights::default(),
            requests: Semaphore::new(options.concurrency.max(1)),
            agent_changes: tokio::sync::Mutex::default(),
            holders: Holders::new(options.agent_secrets, std::mem::take(&mut contents.holders)),
            announcing: tokio::sync::Mutex::default(),
            consents: Consents::default(),
            asks: Asks::default(),
            narrowed: Budget::new(NARROWED_TOKENS),
            recorder,
            recovery: Recovery::default(),
            revocations: Revocations::default(),
            provider_accounts: ProviderAccounts::default(),
            unkept: Unkept::default(),
            unusable: Unusable::default(),
            changes,
            events: broadcast::Sender::new(EVENTS),
            options,
        });
        broker.take_over(contents);
        (broker, receiver)
    }

    fn take_over(&self, contents: Contents) {
        self.unusable.note(contents.unusable);
        for record in contents.revocations {
            let unknown = Later {
                reason: String::new(),
                not_before: None,
            };
            self.revoke_later(record, unknown, 1);
        }
        let mut world = self.world();
        let mut sets = ScopeSets::default();
        let now = self.moment();
        for mut record in contents.integrations {
            if let Some(cut) = &record.renewal {
                tracing::warn!(
                    integration = %record.id, begun = %cut.started_at,
                    "a renewal was cut off between its beginning and its end; it is tried once more"
                );
            }
            // The record in memory says what is so; the sealed grant is read where it is needed.
            record.secret = crate::vault::Sealed::from_bytes(Vec::new());
            if record.kind == IntegrationKind::GoogleServiceAccount && record.subject == record.account {
                // Nobody granted it anything: it may ask for whatever the catalogue has by now.
                record.scopes = self.catalog().scopes_of(record.kind);
            }
            sets.share(&mut record.scopes);
            let authority = self.around.authority_of(record.kind);
            if record.authority == *authority {
                record.authority = authority.clone();
            }
            let id = record.id.clone();
            world.insert_account(record, now);
            if let Some(account) = world.accounts.get(&id) {
                self.schedule_ending(account);
            }
        }
        let time = StoredTime::new(&self.clock, &contents.tokens);
        self.hold_unchecked(&mut world, &contents.unchecked);
        for mut record in contents.tokens {
            sets.share(&mut record.requested);
            sets.share(&mut record.granted);
            self.take_over_token(&mut world, &time, record);
        }
        for name in self.unusable.agents() {
            self.keep_unusable(&mut world, &name);
        }
        for agent in contents.agents {
            match Manifest::from_json(&agent.manifest) {
                Ok(manifest) => {
                    self.upsert(&mut world, Arc::new(manifest), AgentSource::Api);
                }
                Err(error) => {
                    tracing::error!(agent = %agent.name, %error, "an agent in the database was left alone");
                    self.keep_unusable(&mut world, &agent.name);
                }
            }
        }
    }

    fn take_over_token(&self, world: &mut World, time: &StoredTime<'_>, record: TokenRecord) {
        let Some(account) = world.accounts.get(&record.integration) else {
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
        let opened = self.vault.open(
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
        self.expiries.schedule(&key, token.next_change(self.uptime()));
        world.slots.make(&key).token = Some(token);
    }
}
