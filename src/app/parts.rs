//! What the daemon takes from outside: clock, entropy, and the way to the provider.

use std::sync::Arc;

use crate::{
    clock::{SharedClock, SystemClock},
    config::Config,
    entropy::{SharedEntropy, SystemEntropy},
    http_client::Egress,
    provider::google::Endpoints,
};

/// What a test may hold still.
pub struct AppParts {
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// How Google is reached.
    pub egress: Egress,
}

impl Default for AppParts {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            egress: Egress::default(),
        }
    }
}

/// Where the provider is, by the configuration.
pub(super) fn endpoints(config: &Config) -> anyhow::Result<Endpoints> {
    Ok(match &config.google.endpoint_base {
        Some(base) => Endpoints::with_base(base.as_str())?,
        None => Endpoints::google(),
    })
}
