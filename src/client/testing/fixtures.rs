//! An account and an agent as the daemon tells of them.

use prost_types::Timestamp;

use crate::proto::v1::{self, AgentState, IntegrationState};

/// Seconds after noon.
pub(super) fn noon(seconds: i64) -> Timestamp {
    Timestamp {
        seconds: 1_705_320_000 + seconds,
        nanos: 0,
    }
}

/// An account that works.
pub(crate) fn alice() -> v1::Integration {
    v1::Integration {
        id: "int_00000000000000000001".to_owned(),
        kind: "google".to_owned(),
        provider_name: "Google".to_owned(),
        owner: "alice".to_owned(),
        account: "alice@example.com".to_owned(),
        state: IntegrationState::Active.into(),
        capabilities: vec![
            "google.gmail.send".to_owned(),
            "google.calendar.readonly".to_owned(),
        ],
        scopes: vec!["https://www.googleapis.com/auth/gmail.send".to_owned()],
        connected_at: Some(noon(-86_400)),
        renewed_at: Some(noon(-600)),
        agents: vec!["invoice-bot".to_owned()],
        dpop: v1::GrantBinding::Bound.into(),
        capability_states: vec![
            standing("google.gmail.send", v1::CapabilityState::Granted, ""),
            standing(
                "google.calendar.readonly",
                v1::CapabilityState::Satisfied,
                "google.calendar",
            ),
            standing("google.drive", v1::CapabilityState::Declined, ""),
        ],
        ..Default::default()
    }
}

fn standing(key: &str, state: v1::CapabilityState, satisfied_by: &str) -> v1::IntegrationCapability {
    v1::IntegrationCapability {
        key: key.to_owned(),
        state: state.into(),
        satisfied_by: satisfied_by.to_owned(),
        agents: vec!["invoice-bot".to_owned()],
        lacking_agents: Vec::new(),
    }
}

/// An agent that works without one optional capability.
pub(crate) fn agent_of_alice(name: &str) -> v1::Agent {
    let capability = |key: &str, granted| v1::CapabilityStatus {
        key: key.to_owned(),
        granted,
        optional: !granted,
        state: if granted {
            v1::CapabilityState::Granted
        } else {
            v1::CapabilityState::Missing
        }
        .into(),
        description: "Send order confirmations".to_owned(),
        ..Default::default()
    };
    v1::Agent {
        spec: Some(v1::AgentSpec {
            agent: name.to_owned(),
            owner: "alice".to_owned(),
            uid: Some(1000),
            ..Default::default()
        }),
        status: Some(v1::AgentStatus {
            agent: name.to_owned(),
            owner: "alice".to_owned(),
            state: AgentState::Active.into(),
            capabilities: vec![
                capability("google.gmail.send", true),
                capability("google.drive", false),
            ],
            account: "alice@example.com".to_owned(),
            ..Default::default()
        }),
        directory: format!("/run/token-broker/agents/{name}"),
        source: "api".to_owned(),
        expires_at: Some(noon(3000)),
        next_renewal_at: Some(noon(2400)),
        ..Default::default()
    }
}
