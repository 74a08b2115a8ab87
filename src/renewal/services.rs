//! What the scheduler, the accounts and the agents share.

use std::sync::Arc;

use crate::{
    audit::audit_writer::AuditWriter,
    entropy::SharedEntropy,
    id::IntegrationId,
    policy::context::PolicyContext,
    registry::{
        events::Events, handle::ChangeSender, keys::TokenKey, state::SharedRegistry, time::BrokerClock,
    },
    renewal::{
        options::{BrokerOptions, BrokerParts},
        outcome::Renewed,
        queue::Queue,
        request_places::RequestPlaces,
        rotation::Rotations,
        schedule::Schedule,
        single_flight::SingleFlight,
        unkept::Unkept,
    },
    store::SharedStore,
    telemetry::Metrics,
    vault::Vault,
};

/// What several parts share.
pub(crate) struct Services {
    pub(crate) options: Arc<BrokerOptions>,
    pub(crate) clock: Arc<BrokerClock>,
    pub(crate) entropy: SharedEntropy,
    pub(crate) store: SharedStore,
    pub(crate) vault: Arc<Vault>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) context: Arc<PolicyContext>,
    pub(crate) registry: Arc<SharedRegistry>,
    /// The state of each token on its way to the next one.
    pub(crate) schedule: Arc<Schedule>,
    /// Tokens by when they change without anybody's doing.
    pub(crate) expiries: Arc<Queue>,
    /// Whose grant ends soon.
    pub(crate) endings: Arc<Queue<IntegrationId>>,
    pub(crate) single_flight: Arc<SingleFlight<TokenKey, Renewed>>,
    /// Requests to providers for access tokens that run at once.
    pub(crate) requests: Arc<RequestPlaces>,
    pub(crate) audit: Arc<AuditWriter>,
    pub(crate) rotations: Arc<Rotations>,
    pub(crate) unkept: Arc<Unkept>,
    pub(crate) changes: ChangeSender,
    pub(crate) events: Events,
}

impl Services {
    /// What a broker starts with.
    pub(crate) fn new(options: BrokerOptions, parts: BrokerParts, changes: ChangeSender) -> Self {
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
            schedule: Arc::default(),
            expiries: Arc::default(),
            endings: Arc::default(),
            single_flight: Arc::default(),
            requests: Arc::new(RequestPlaces::new(&providers, options.concurrency)),
            audit: Arc::new(audit),
            unkept: Arc::default(),
            changes,
            events: Events::default(),
            options: Arc::new(options),
        }
    }
}
