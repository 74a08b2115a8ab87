//! How agents and capabilities stand, by name.

use serde::{Serialize, Serializer};

/// Why an agent has a token or has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AgentState {
    /// A fresh token is there.
    Active,
    /// The owner has connected no account.
    NotConnected,
    /// A required capability was not granted.
    PermissionMissing,
    /// The owner has to connect again.
    ReconnectRequired,
    /// Access was withdrawn on purpose.
    Revoked,
    /// The provider cannot be reached; a token may still be valid.
    ProviderUnavailable,
    /// The operator has to act.
    Misconfigured,
}

impl AgentState {
    /// All there are.
    pub const ALL: [Self; 7] = [
        Self::Active,
        Self::NotConnected,
        Self::PermissionMissing,
        Self::ReconnectRequired,
        Self::Revoked,
        Self::ProviderUnavailable,
        Self::Misconfigured,
    ];

    /// True where the account's owner has to act.
    pub(crate) fn is_the_owners(self) -> bool {
        match self {
            Self::NotConnected | Self::PermissionMissing | Self::ReconnectRequired | Self::Revoked => true,
            Self::Active | Self::ProviderUnavailable | Self::Misconfigured => false,
        }
    }

    /// The stable code that files, problems and `ErrorInfo` carry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::NotConnected => "not_connected",
            Self::PermissionMissing => "permission_missing",
            Self::ReconnectRequired => "reconnect_required",
            Self::Revoked => "revoked",
            Self::ProviderUnavailable => "provider_unavailable",
            Self::Misconfigured => "misconfigured",
        }
    }
}

impl Serialize for AgentState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// How a capability stands with an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CapabilityState {
    /// Its own scopes were granted.
    Granted,
    /// A wider capability was granted, which will do.
    Satisfied,
    /// Nobody has asked for it yet.
    Missing,
    /// A consent asked for it, and the person did not give it.
    Declined,
}

impl CapabilityState {
    /// The stable word that files and messages carry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Satisfied => "satisfied",
            Self::Missing => "missing",
            Self::Declined => "declined",
        }
    }
}

impl Serialize for CapabilityState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
