//! What came of a consent.

use jiff::Timestamp;

use crate::id::{AgentName, CapabilityKey, IntegrationId, OwnerId, ProviderId};

/// A consent that has begun.
pub struct ConnectStarted {
    /// Whose page it is.
    pub provider: ProviderId,
    /// Where the person's browser has to go.
    pub authorization_url: url::Url,
    /// Names the consent; not a secret.
    pub connect_id: String,
    /// When it is given up.
    pub expires_at: Timestamp,
    /// Agents that name no account and would not know any more which one to use: this consent would add a second.
    pub agents_in_doubt: Vec<AgentName>,
}

/// A consent that ended well.
#[derive(Clone)]
pub struct Connected {
    /// The account.
    pub account: IntegrationId,
    /// Whose it is.
    pub owner: OwnerId,
    /// Asked for, but not granted.
    pub missing: Vec<CapabilityKey>,
    /// Granted before, and not any more by the provider's answer.
    pub withdrawn: Vec<CapabilityKey>,
    /// Granted by the provider's answer, though neither this consent nor one before asked for it.
    pub unasked: Vec<CapabilityKey>,
    /// Where the browser is to go.
    pub return_url: Option<String>,
    /// It was begun in the console.
    pub in_console: bool,
}
