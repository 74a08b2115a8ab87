//! How agents and capabilities stand, as messages carry it.

use crate::{
    broker::{AgentState, CapabilityState},
    proto::v1,
};

/// An agent's state as a message carries it.
pub(crate) fn agent_state(state: AgentState) -> v1::AgentState {
    match state {
        AgentState::Active => v1::AgentState::Active,
        AgentState::NotConnected => v1::AgentState::NotConnected,
        AgentState::PermissionMissing => v1::AgentState::PermissionMissing,
        AgentState::ReconnectRequired => v1::AgentState::ReconnectRequired,
        AgentState::Revoked => v1::AgentState::Revoked,
        AgentState::ProviderUnavailable => v1::AgentState::ProviderUnavailable,
        AgentState::Misconfigured => v1::AgentState::Misconfigured,
    }
}

/// A capability's state as a message carries it.
pub(crate) fn capability_state(state: CapabilityState) -> v1::CapabilityState {
    match state {
        CapabilityState::Granted => v1::CapabilityState::Granted,
        CapabilityState::Satisfied => v1::CapabilityState::Satisfied,
        CapabilityState::Missing => v1::CapabilityState::Missing,
        CapabilityState::Declined => v1::CapabilityState::Declined,
    }
}
