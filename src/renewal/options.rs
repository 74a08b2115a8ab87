//! What a broker is told, and what it is made of.

use std::{sync::Arc, time::Duration};

use crate::{
    capability::Catalog, entropy::SharedEntropy, provider::Providers, store::SharedStore, telemetry::Metrics,
    vault::Vault,
};

/// What a broker is told once.
pub struct BrokerOptions {
    /// Where people reach the daemon, without a slash at the end.
    pub public_url: String,
    /// How many requests for access tokens run at once.
    pub concurrency: usize,
    /// How long a consent may take.
    pub consent_timeout: Duration,
    /// Origins that a browser may be sent to after a consent.
    pub return_origins: Vec<url::Origin>,
    /// Whether each agent has a secret of its own, for a credential file.
    pub agent_secrets: bool,
}

/// What a broker is made of.
pub struct BrokerParts {
    /// Time.
    pub clock: crate::clock::SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// Durable records.
    pub store: SharedStore,
    /// Who gives tokens.
    pub providers: Arc<Providers>,
    /// Seals and opens.
    pub vault: Arc<Vault>,
    /// Capabilities.
    pub catalog: Arc<Catalog>,
    /// Figures.
    pub metrics: Arc<Metrics>,
}
