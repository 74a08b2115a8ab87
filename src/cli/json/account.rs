//! Connected accounts, as JSON shows them.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    proto::{self, v1},
    provider::SOME_PROVIDER,
};

/// A connected account.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct Integration {
    /// Its id.
    pub id: String,
    /// `google` or `google-sa`.
    pub kind: String,
    /// Who runs its provider.
    #[serde(skip)]
    pub provider_name: String,
    /// Nobody consents for it: it is an account of a key.
    #[serde(skip)]
    pub keyed: bool,
    /// Where the person, or the operator, sees what is allowed.
    #[serde(skip)]
    pub connections_url: String,
    /// Whose it is.
    pub owner: String,
    /// The account's address.
    pub account: String,
    /// The addresses that it had before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub former_accounts: Vec<String>,
    /// The agents whose manifests name it by one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents_by_former_account: Vec<String>,
    /// The person that a service account acts for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub acts_for: String,
    /// `bound` or `unbound`: whether its grant is bound to a key (DPoP).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dpop: String,
    /// Its state.
    pub state: String,
    /// A sentence about the state.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What a person can do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub action_url: String,
    /// The capabilities that the granted scopes cover.
    pub capabilities: Vec<String>,
    /// What the person granted.
    pub scopes: Vec<String>,
    /// The agents that use it.
    pub agents: Vec<String>,
    /// The state of each capability that is granted, waited for or declined.
    pub capability_states: Vec<IntegrationCapability>,
    /// When it was connected last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_at: Option<Timestamp>,
    /// When a token was last obtained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewed_at: Option<Timestamp>,
    /// When the grant itself ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_expires_at: Option<Timestamp>,
}

/// An account that was disconnected and that the provider could not be told of yet.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct PendingRevocation {
    /// The id that the integration had.
    pub integration_id: String,
    /// Whose it was.
    pub owner: String,
    /// The account's address.
    pub account: String,
    /// When it was disconnected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Who runs the provider, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub provider_name: String,
    /// Why it was not done so far.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it is tried next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
}

impl From<v1::PendingRevocation> for PendingRevocation {
    fn from(from: v1::PendingRevocation) -> Self {
        Self {
            integration_id: from.integration_id,
            owner: from.owner,
            account: from.account,
            since: proto::moment(from.since),
            provider_name: from.provider_name,
            message: from.message,
            retry_at: proto::moment(from.retry_at),
        }
    }
}

impl fmt::Display for PendingRevocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let provider = match self.provider_name.as_str() {
            "" => SOME_PROVIDER,
            name => name,
        };
        write!(
            f,
            "{} of {} was disconnected here and is still to be revoked at {provider}, which is tried until it is done. {}",
            self.account, self.owner, self.message
        )
    }
}

impl From<v1::Integration> for Integration {
    fn from(from: v1::Integration) -> Self {
        Self {
            state: proto::code(from.state().as_str_name(), "INTEGRATION_STATE_"),
            dpop: match from.dpop() {
                v1::GrantBinding::Unspecified => String::new(),
                known => proto::code(known.as_str_name(), "GRANT_BINDING_"),
            },
            id: from.id,
            kind: from.kind,
            provider_name: from.provider_name,
            keyed: from.keyed,
            connections_url: from.connections_url,
            owner: from.owner,
            account: from.account,
            former_accounts: from.former_accounts,
            agents_by_former_account: from.agents_by_former_account,
            acts_for: from.acts_for,
            message: from.message,
            action_url: from.action_url,
            capabilities: from.capabilities,
            scopes: from.scopes,
            agents: from.agents,
            capability_states: from.capability_states.into_iter().map(Into::into).collect(),
            connected_at: proto::moment(from.connected_at),
            renewed_at: proto::moment(from.renewed_at),
            grant_expires_at: proto::moment(from.grant_expires_at),
        }
    }
}

/// The state of one capability of an account.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct IntegrationCapability {
    /// Its key.
    pub key: String,
    /// `granted`, `satisfied`, `missing` or `declined`.
    pub state: String,
    /// The wider key that satisfies it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub satisfied_by: String,
    /// The agents that declare it.
    pub agents: Vec<String>,
    /// Those of them whose own token does not carry it although it was granted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacking_agents: Vec<String>,
}

impl From<v1::IntegrationCapability> for IntegrationCapability {
    fn from(from: v1::IntegrationCapability) -> Self {
        Self {
            state: proto::code(from.state().as_str_name(), "CAPABILITY_STATE_"),
            key: from.key,
            satisfied_by: from.satisfied_by,
            agents: from.agents,
            lacking_agents: from.lacking_agents,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accounts_state_is_shown_by_its_stable_code() {
        let mut integration = v1::Integration::default();
        integration.set_state(v1::IntegrationState::ReconnectRequired);
        assert_eq!(Integration::from(integration).state, "reconnect_required");
    }

    #[test]
    fn an_account_says_whether_it_is_bound_where_it_may_be() {
        for (binding, shown) in [
            (v1::GrantBinding::Bound, Some("bound")),
            (v1::GrantBinding::Unbound, Some("unbound")),
            (v1::GrantBinding::Unspecified, None),
        ] {
            let mut integration = v1::Integration::default();
            integration.set_dpop(binding);
            let json = serde_json::to_value(Integration::from(integration)).unwrap();
            assert_eq!(json.get("dpop").and_then(serde_json::Value::as_str), shown);
        }
    }
}
