//! What the provider announces by itself about an account (Cross-Account Protection), and what follows from it.
//!
//! Tokens leave every agent first, then the database says why; the event is remembered last. Whatever is cut off in
//! between is done again when the event is pushed again, and does no harm twice.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    accounts::{
        checks::AccountChecks, disconnect::DELIVERY_PATIENCE, health::AccountHealth, tables::AccountTables,
    },
    audit::audit_writer::AuditWriter,
    cause::GrantCause,
    id::IntegrationId,
    policy::{context::PolicyContext, select_account::AccountRef},
    registry::{keys::TokenKey, state::SharedRegistry, time::BrokerClock},
    renewal::{
        outcome::Renewed, parts::Renewing, publisher::Publisher, secrets::open_refresh_token,
        services::Services, single_flight::SingleFlight, turns::Turns,
    },
    risc::{EventType, SecurityEvent, SecurityEvents, Subject, TokenIdentifier},
    store::{Health, IntegrationRecord, SharedStore, StoreError},
    telemetry::audit::{Actor, AuditEvent, Concern, Decision},
    vault::Vault,
};

/// What was done about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// It was acted on, where it concerned anything here.
    New,
    /// It was acted on before.
    Repeated,
}

/// What an event means for one account.
enum Consequence {
    /// Its tokens go; the grant is forgotten, or kept for better days.
    Withdraw { health: Health, forget: bool },
    /// Its tokens go, and new ones are asked for.
    Renew,
    /// It is asked whether it still works.
    Check,
    /// It may work again.
    Restore,
    /// Nothing, and why.
    Nothing(&'static str),
}

impl Consequence {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Withdraw { forget: true, .. } => "its tokens were withdrawn and the grant was deleted",
            Self::Withdraw { forget: false, .. } => "its tokens were withdrawn",
            Self::Renew => "its tokens were withdrawn, and new ones are asked for",
            Self::Check => "the provider is asked whether the grant still works",
            Self::Restore => "the grant is tried again",
            Self::Nothing(why) => why,
        }
    }
}

/// Acts on the security events that the provider sends (Cross-Account Protection).
pub struct SecurityEventHandler {
    announcing: Arc<tokio::sync::Mutex<()>>,
    audit: Arc<AuditWriter>,
    clock: Arc<BrokerClock>,
    context: Arc<PolicyContext>,
    single_flight: Arc<SingleFlight<TokenKey, Renewed>>,
    registry: Arc<SharedRegistry>,
    store: SharedStore,
    vault: Arc<Vault>,
    account_checks: Arc<AccountChecks>,
    health: Arc<AccountHealth>,
    publisher: Arc<Publisher>,
    turns: Arc<Turns>,
}

impl SecurityEventHandler {
    /// With what it needs of the parts before it.
    pub(crate) fn new(
        services: &Services,
        tables: &AccountTables,
        renewing: &Renewing,
        account_checks: &Arc<AccountChecks>,
        health: &Arc<AccountHealth>,
    ) -> Arc<Self> {
        Arc::new(Self {
            announcing: tables.announcing.clone(),
            audit: services.audit.clone(),
            clock: services.clock.clone(),
            context: services.context.clone(),
            single_flight: services.single_flight.clone(),
            registry: services.registry.clone(),
            store: services.store.clone(),
            vault: services.vault.clone(),
            account_checks: account_checks.clone(),
            health: health.clone(),
            publisher: renewing.publisher.clone(),
            turns: renewing.turns.clone(),
        })
    }

    /// Does what follows from events whose signature was checked. It runs to its end even when the caller goes away.
    ///
    /// # Errors
    /// The database does not take it; tokens may have left the agents by then. The event is not remembered, so it may
    /// be pushed again.
    pub async fn handle(self: &Arc<Self>, events: SecurityEvents) -> Result<Announced, StoreError> {
        let this = self.clone();
        let work = async move { this.take_in(&events).await };
        self.single_flight
            .spawn(work)
            .await
            .unwrap_or(Err(StoreError::Closed))
    }

    async fn take_in(self: &Arc<Self>, events: &SecurityEvents) -> Result<Announced, StoreError> {
        // One at a time, so that the same event twice at once is acted on once.
        let _alone = self.announcing.lock().await;
        if self.store.is_event_known(&events.id).await? {
            return Ok(Announced::Repeated);
        }
        let mut lines = Vec::new();
        let mut acted = Ok(());
        for event in &events.events {
            acted = self.act_on(event, events.issued_at, &mut lines).await;
            if acted.is_err() {
                break;
            }
        }
        if acted.is_ok() {
            // What the provider is told was taken has its lines by the same commit.
            let account = lines.iter().find_map(|line| line.integration.as_ref());
            let remembered = self
                .store
                .remember_event(&events.id, account, self.clock.now(), lines.clone());
            acted = remembered.await;
        }
        if let Err(error) = acted {
            // Tokens may have left the agents, and the event comes again.
            for line in lines {
                self.audit.record(line);
            }
            return Err(error);
        }
        Ok(Announced::New)
    }

    async fn act_on(
        self: &Arc<Self>,
        event: &SecurityEvent,
        issued_at: Timestamp,
        lines: &mut Vec<AuditEvent>,
    ) -> Result<(), StoreError> {
        let concerned = match &event.subject {
            Subject::Account(subject) => self.accounts_of_subject(subject),
            Subject::Token(identifier) => self.accounts_of_token(identifier).await?,
            Subject::Unknown => Vec::new(),
        };
        if concerned.is_empty() {
            let nobody = match event.kind {
                EventType::Verification => "the receiver works",
                EventType::Other => "this kind of event is not acted on",
                _ => "no connected account is concerned",
            };
            lines.push(self.announcement(event, None, nobody));
        }
        for id in concerned {
            self.act_on_account(event, &id, issued_at, lines).await?;
        }
        Ok(())
    }

    async fn act_on_account(
        self: &Arc<Self>,
        event: &SecurityEvent,
        id: &IntegrationId,
        issued_at: Timestamp,
        lines: &mut Vec<AuditEvent>,
    ) -> Result<(), StoreError> {
        let Some((record, consequence)) = self.apply(event, id, issued_at) else {
            return Ok(());
        };
        lines.push(self.announcement(event, Some(&record), consequence.as_str()));
        match consequence {
            Consequence::Withdraw { health, forget } => {
                // A grant that is kept may be rotating at this moment; a slow provider does not hold this up for long.
                let turn = async { if forget { None } else { self.turns.turn(id).await } };
                let _turn = tokio::time::timeout(DELIVERY_PATIENCE, turn).await;
                self.health.keep_health(&record, health, forget).await?;
            }
            Consequence::Renew => {
                self.store.forget_tokens(id).await?;
                self.check_later(id);
            }
            Consequence::Check => self.check_later(id),
            Consequence::Restore => {
                self.health.restore_alone(&record).await?;
                self.check_later(id);
            }
            Consequence::Nothing(_) => {}
        }
        Ok(())
    }

    /// Decides, and takes tokens from the agents in the same moment, so that nothing comes in between.
    fn apply(
        &self,
        event: &SecurityEvent,
        id: &IntegrationId,
        issued_at: Timestamp,
    ) -> Option<(IntegrationRecord, Consequence)> {
        let mut registry = self.registry.lock();
        let record = registry.accounts.get(id)?.record.clone();
        // The event carries the provider's time, the record the node's.
        let run_by = self.context.providers.name_of(&record.provider);
        let skew = self.clock.skew_of(&run_by);
        let issued_here = issued_at.checked_sub(skew).unwrap_or(issued_at);
        let is_of_before = record.connected_at > issued_here;
        let consequence = consequence(event, &record, issued_at, is_of_before);
        match &consequence {
            Consequence::Withdraw { health, .. } => {
                self.publisher.change_health(&mut registry, id, health.clone());
            }
            Consequence::Renew => {
                self.publisher.forget_tokens(&mut registry, id);
                let agents = registry.agents_of(&record.owner);
                self.publisher.republish(&mut registry, agents);
            }
            _ => {}
        }
        drop(registry);
        if let Consequence::Withdraw { health, .. } = &consequence {
            self.publisher.tell_health(&record, health);
        }
        Some((record, consequence))
    }

    fn accounts_of_subject(&self, subject: &str) -> Vec<IntegrationId> {
        let registry = self.registry.lock();
        let concerned = |record: &&IntegrationRecord| record.subject == subject && self.is_announced(record);
        let mut found: Vec<IntegrationId> = registry
            .accounts
            .values()
            .map(|account| &account.record)
            .filter(concerned)
            .map(|record| record.id.clone())
            .collect();
        found.sort();
        found
    }

    /// True for an account of the provider that announces: the first.
    fn is_announced(&self, record: &IntegrationRecord) -> bool {
        record.issuer_binding == self.context.providers.first().issuer_binding
    }

    /// The accounts whose refresh token this is: each is opened and compared, so that the database need not hold
    /// anything by which a token could be found.
    async fn accounts_of_token(
        self: &Arc<Self>,
        identifier: &TokenIdentifier,
    ) -> Result<Vec<IntegrationId>, StoreError> {
        let contents = self.store.load().await?;
        let (this, identifier) = (self.clone(), identifier.clone());
        let search = move || {
            let concerned = |record: &IntegrationRecord| {
                this.is_announced(record)
                    && open_refresh_token(&this.vault, &record.id, &record.secret, || record.account.clone())
                        .is_ok_and(|token| identifier.names(&token))
            };
            let found = contents.integrations.into_iter().filter(concerned);
            found.map(|record| record.id).collect()
        };
        tokio::task::spawn_blocking(search)
            .await
            .map_err(|_| StoreError::Closed)
    }

    /// Asks the provider without making whoever announced something wait for its answer.
    fn check_later(self: &Arc<Self>, id: &IntegrationId) {
        let (this, which) = (self.clone(), AccountRef::Id(id.clone()));
        self.single_flight.spawn(async move {
            // What it finds out is in the account's view, and with the agents.
            let _ = this.account_checks.check_account(&which).await;
        });
    }

    /// The line of the trail that tells of it.
    fn announcement(
        &self,
        event: &SecurityEvent,
        record: Option<&IntegrationRecord>,
        done: &str,
    ) -> AuditEvent {
        let kind = event.kind.as_str();
        let words = match event.words.as_str() {
            "" => String::new(),
            words => format!(" ({words})"),
        };
        let detail = format!("{kind}{words}: {done}");
        let integration = record.map(|record| record.id.clone());
        tracing::info!(
            event = kind,
            integration = integration.as_ref().map(tracing::field::display),
            detail,
            "security event"
        );
        AuditEvent {
            time: self.clock.now(),
            actor: Actor::Provider,
            action: "integration.security_event",
            integration,
            capabilities: record
                .map(|record| self.context.catalog.covered_by(&record.provider, &record.scopes))
                .unwrap_or_default(),
            decision: Decision::Allowed,
            detail,
            concern: record.map_or_else(Concern::default, |record| Concern::owner(&record.owner)),
        }
    }
}

/// What an event means for an account: what Google's documentation demands or suggests for each. `is_of_before` tells
/// that the account was connected after it.
fn consequence(
    event: &SecurityEvent,
    record: &IntegrationRecord,
    issued_at: Timestamp,
    is_of_before: bool,
) -> Consequence {
    let account = record.account.clone();
    let usable = record.health == Health::Active;
    let disabled = matches!(record.health, Health::Disabled(_));
    let withdraws = matches!(
        event.kind,
        EventType::TokensRevoked | EventType::TokenRevoked | EventType::AccountDisabled
    );
    if withdraws && is_of_before {
        // It may be about an earlier grant, or about this one in the second in which it was made.
        return if usable {
            Consequence::Check
        } else {
            Consequence::Nothing("the account was connected anew since")
        };
    }
    // What was withdrawn already is withdrawn again: the database may not have taken it the first time.
    match event.kind {
        EventType::TokensRevoked => Consequence::Withdraw {
            health: Health::Revoked(Box::new(GrantCause::PermissionsRemoved {
                account,
                announced_at: issued_at,
            })),
            forget: true,
        },
        EventType::TokenRevoked => Consequence::Withdraw {
            health: Health::ReconnectRequired(Box::new(GrantCause::GrantRevoked {
                account,
                announced_at: issued_at,
            })),
            forget: true,
        },
        EventType::AccountDisabled if usable || disabled => Consequence::Withdraw {
            health: Health::Disabled(Box::new(GrantCause::AccountDisabled {
                account,
                reason: event.words.clone(),
                announced_at: issued_at,
            })),
            forget: false,
        },
        EventType::SessionsRevoked if usable => Consequence::Renew,
        EventType::CredentialChangeRequired if usable => Consequence::Check,
        EventType::AccountEnabled if disabled => Consequence::Restore,
        EventType::AccountEnabled => Consequence::Nothing("the account was not disabled here"),
        EventType::Verification | EventType::Other => Consequence::Nothing("nothing follows from it"),
        _ => Consequence::Nothing("the grant did not work already"),
    }
}
