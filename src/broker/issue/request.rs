//! What an agent asks for, and what it gets.

use std::{sync::Arc, time::Duration};

use crate::{
    id::{CapabilityKey, ProviderId},
    registry::{
        keys::TokenKey,
        snapshot::{AgentSnapshot, IssuedToken},
    },
};

/// What an agent asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// Only these of the agent's capabilities; empty for all that were granted. As the caller spelled them.
    pub capabilities: Vec<String>,
    /// At least this much life.
    pub min_ttl: Duration,
    /// Whose token; `None` for that of the capabilities, or for the agent's main one.
    pub integration: Option<ProviderId>,
    /// The token at hand was refused by an API: another one.
    pub refresh: bool,
}

impl Default for TokenRequest {
    fn default() -> Self {
        Self {
            capabilities: Vec::new(),
            min_ttl: Duration::ZERO,
            integration: None,
            refresh: false,
        }
    }
}

impl TokenRequest {
    /// True when whatever token the agent has of that provider will do.
    pub fn is_plain(&self) -> bool {
        self.capabilities.is_empty() && self.min_ttl.is_zero() && !self.refresh
    }
}

/// What an agent gets.
pub struct TokenGrant {
    /// The token.
    pub token: Arc<IssuedToken>,
    /// The agent's capabilities that it serves.
    pub capabilities: Arc<[CapabilityKey]>,
}

/// What an agent asked for, as it stands.
pub(super) struct Asked {
    pub(super) provider: ProviderId,
    pub(super) snapshot: Arc<AgentSnapshot>,
    pub(super) capabilities: Arc<[CapabilityKey]>,
    pub(super) key: TokenKey,
    pub(super) at_hand: Option<Arc<IssuedToken>>,
}
