//! What every provider is built with, besides its own settings.

use url::Url;

use crate::{
    clock::SharedClock,
    entropy::SharedEntropy,
    http_client::{Egress, Limits},
};

/// What a provider is built with, besides its own settings.
#[derive(Clone)]
pub struct ProviderContext {
    /// Where consents come back to.
    pub redirect_uri: Url,
    /// What a request may take.
    pub limits: Limits,
    /// How servers are reached.
    pub egress: Egress,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
}
