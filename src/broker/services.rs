//! What several parts of the broker share.

use std::sync::Arc;

use super::{
    accounts::{
        asks::Asks, consents::Consents, provider_accounts::ProviderAccounts, unusable_records::Unusable,
    },
    agents::holders::Holders,
    audit::audit_writer::AuditWriter,
    events::Events,
    handle::ChangeSender,
    options::{BrokerOptions, BrokerParts},
    policy::context::PolicyContext,
    registry::{keys::TokenKey, state::SharedRegistry},
    renewal::{
        outcome::Renewed, queue::Queue, rotation::Rotations, single_flight::SingleFlight, unkept::Unkept,
    },
    time::BrokerClock,
};
use crate::{
    broker::renewal::request_places::RequestPlaces, entropy::SharedEntropy, id::IntegrationId,
    store::SharedStore, telemetry::Metrics, vault::Vault,
};

/// What several parts share.
pub(super) struct Services {
    pub(super) options: Arc<BrokerOptions>,
    pub(super) clock: Arc<BrokerClock>,
    pub(super) entropy: SharedEntropy,
    pub(super) store: SharedStore,
    pub(super) vault: Arc<Vault>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) context: Arc<PolicyContext>,
    pub(super) registry: Arc<SharedRegistry>,
    /// Renewals by when they are due.
    pub(super) due: Arc<Queue>,
    /// Tokens by when they change without anybody's doing.
    pub(super) expiries: Arc<Queue>,
    /// Whose grant ends soon.
    pub(super) endings: Arc<Queue<IntegrationId>>,
    pub(super) single_flight: Arc<SingleFlight<TokenKey, Renewed>>,
    /// Requests to providers for access tokens that run at once.
    pub(super) requests: Arc<RequestPlaces>,
    /// One security event is acted on at a time.
    pub(super) announcing: Arc<tokio::sync::Mutex<()>>,
    pub(super) holders: Arc<Holders>,
    pub(super) consents: Arc<Consents>,
    pub(super) asks: Arc<Asks>,
    pub(super) audit: Arc<AuditWriter>,
    pub(super) provider_accounts: Arc<ProviderAccounts>,
    pub(super) rotations: Arc<Rotations>,
    pub(super) unkept: Arc<Unkept>,
    pub(super) unusable: Arc<Unusable>,
    pub(super) changes: ChangeSender,
    pub(super) events: Events,
}

impl Services {
    /// What a broker starts with.
    pub(super) fn new(
        options: BrokerOptions,
        parts: BrokerParts,
        holders: Holders,
        changes: ChangeSender,
    ) -> Self {
        let providers = parts.providers;
        let context = PolicyContext {
            catalog: parts.catalog,
            public_url: options.public_url.clone(),
            providers: providers.clone(),
        };
        let audit = AuditWriter::start(parts.store.clone(), parts.clock.clone(), parts.metrics.clone());
        Self {
            clock: Arc::new(BrokerClock::new(parts.clock)),
            entropy: parts.entropy,
            store: parts.store,
            rotations: Arc::new(Rotations::new(&providers)),
            vault: parts.vault,
            metrics: parts.metrics,
            context: Arc::new(context),
            registry: Arc::default(),
            due: Arc::default(),
            expiries: Arc::default(),
            endings: Arc::default(),
            single_flight: Arc::default(),
            requests: Arc::new(RequestPlaces::new(&providers, options.concurrency)),
            announcing: Arc::default(),
            holders: Arc::new(holders),
            consents: Arc::default(),
            asks: Arc::default(),
            audit: Arc::new(audit),
            provider_accounts: Arc::default(),
            unkept: Arc::default(),
            unusable: Arc::default(),
            changes,
            events: Events::default(),
            options: Arc::new(options),
        }
    }
}
