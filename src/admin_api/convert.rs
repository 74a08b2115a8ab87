//! From the broker's views to messages.

use crate::{agent_view::message::agent_state, provider::AccountField};
use crate::{agent_view::message::capability_state, provider::Providers};
use crate::{
    broker::{
        AccountView, AgentSnapshot, AgentSource, AgentState, AgentView, CapabilityStanding, Event,
        GrantBinding, PendingRevocation,
    },
    capability::{Capability, Verification},
    clock::Moment,
    health::Unmet,
    id::{IntegrationId, InvalidId},
    manifest::{Manifest, PodIdentity, Requirement},
    proto::{timestamp, v1},
    store::{IntegrationRecord, StoreError, TrailSize},
    telemetry::audit::{AuditLine, ChainPoint},
};

pub(super) fn capability(capability: &Capability) -> v1::Capability {
    v1::Capability {
        key: capability.key.to_string(),
        title: capability.title.clone(),
        r#use: capability.usage.clone(),
        scopes: capability.scopes.iter().map(ToString::to_string).collect(),
        satisfied_by: capability.satisfied_by.iter().map(ToString::to_string).collect(),
        group: capability.group.clone(),
        verification: capability
            .verification
            .map_or(v1::Verification::Unspecified, verification)
            .into(),
    }
}

pub(super) fn unmet(unmet: Unmet) -> v1::UnmetCondition {
    v1::UnmetCondition {
        condition: unmet.condition.to_owned(),
        message: unmet.sentence,
    }
}

fn verification(class: Verification) -> v1::Verification {
    match class {
        Verification::Basic => v1::Verification::Basic,
        Verification::Sensitive => v1::Verification::Sensitive,
        Verification::Restricted => v1::Verification::Restricted,
    }
}

fn standing(standing: &CapabilityStanding) -> v1::IntegrationCapability {
    v1::IntegrationCapability {
        key: standing.key.to_string(),
        state: capability_state(standing.state).into(),
        satisfied_by: standing
            .satisfied_by
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        agents: standing.agents.iter().map(ToString::to_string).collect(),
        lacking_agents: standing.lacking.iter().map(ToString::to_string).collect(),
    }
}

fn integration_state(view: &AccountView) -> v1::IntegrationState {
    match view.state() {
        AgentState::Active | AgentState::NotConnected | AgentState::PermissionMissing => {
            v1::IntegrationState::Active
        }
        AgentState::ReconnectRequired => v1::IntegrationState::ReconnectRequired,
        AgentState::Revoked => v1::IntegrationState::Revoked,
        AgentState::ProviderUnavailable => v1::IntegrationState::ProviderUnavailable,
        AgentState::Misconfigured => v1::IntegrationState::Misconfigured,
    }
}

pub(super) fn pending_revocation(
    pending: PendingRevocation,
    providers: &Providers,
    now: Moment,
) -> v1::PendingRevocation {
    let provider = providers.bound_to(&pending.record.issuer_binding);
    v1::PendingRevocation {
        integration_id: pending.record.id.to_string(),
        owner: pending.record.owner.to_string(),
        message: pending.message(),
        account: pending.record.account,
        since: Some(timestamp(pending.record.since)),
        retry_at: Some(timestamp(now.wall_at(pending.retry_at))),
        provider_name: provider.map_or_else(String::new, |provider| provider.profile.name.clone()),
    }
}

pub(super) fn integration(view: &AccountView) -> v1::Integration {
    let IntegrationRecord {
        id,
        provider,
        owner,
        account,
        subject,
        scopes,
        connected_at,
        renewed_at,
        former,
        grant_expires_at,
        ..
    } = &view.record;
    v1::Integration {
        id: id.to_string(),
        kind: provider.to_string(),
        owner: owner.to_string(),
        account: account.clone(),
        grant_expires_at: grant_expires_at.map(timestamp),
        former_accounts: former.to_vec(),
        agents_by_former_account: view.agents_by_former.iter().map(ToString::to_string).collect(),
        state: integration_state(view).into(),
        message: view.message().to_owned(),
        capabilities: view.capabilities.iter().map(ToString::to_string).collect(),
        scopes: scopes.iter().map(ToString::to_string).collect(),
        connected_at: Some(timestamp(*connected_at)),
        renewed_at: renewed_at.map(timestamp),
        agents: view.agents.iter().map(ToString::to_string).collect(),
        action_url: view.action_url.clone().unwrap_or_default(),
        acts_for: if view.keyed && subject != account {
            subject.clone()
        } else {
            String::new()
        },
        capability_states: view.standings.iter().map(standing).collect(),
        provider_name: view.provider_name.clone(),
        keyed: view.keyed,
        connections_url: view.connections_url.clone(),
        dpop: binding(view.binding).into(),
    }
}

fn binding(binding: Option<GrantBinding>) -> v1::GrantBinding {
    match binding {
        None => v1::GrantBinding::Unspecified,
        Some(GrantBinding::Unbound { .. }) => v1::GrantBinding::Unbound,
        Some(GrantBinding::Bound) => v1::GrantBinding::Bound,
    }
}

/// What removing a record that is not used answers: there is no account, and what the record says is not believed.
pub(super) fn without_account(id: &IntegrationId, problem: &StoreError) -> v1::DisconnectResponse {
    v1::DisconnectResponse {
        integration: Some(v1::Integration {
            id: id.to_string(),
            state: v1::IntegrationState::Misconfigured.into(),
            message: problem.to_string(),
            ..v1::Integration::default()
        }),
        ..v1::DisconnectResponse::default()
    }
}

/// An agent's snapshot as a message.
pub fn agent_status(snapshot: &AgentSnapshot) -> v1::AgentStatus {
    let described = snapshot.capabilities.iter().zip(&snapshot.manifest.integrations);
    let account = |field| snapshot.account_in(field).unwrap_or_default().to_owned();
    v1::AgentStatus {
        agent: snapshot.manifest.agent.to_string(),
        owner: snapshot.manifest.owner.to_string(),
        state: agent_state(snapshot.state).into(),
        message: snapshot.message.clone(),
        action_url: snapshot.action_url.clone().unwrap_or_default(),
        capabilities: described
            .map(|(status, requirement)| v1::CapabilityStatus {
                key: status.key.to_string(),
                granted: status.granted,
                optional: status.optional,
                satisfied_by: status
                    .satisfied_by
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                description: requirement.description.clone(),
                state: capability_state(status.state()).into(),
            })
            .collect(),
        account: account(&AccountField::Account),
        service_account: account(&AccountField::ServiceAccount),
        accounts: snapshot
            .other_accounts()
            .into_iter()
            .map(|(provider, address)| (provider.to_string(), address.to_owned()))
            .collect(),
    }
}

/// What an agent declares, as a message.
pub fn spec(manifest: &Manifest) -> v1::AgentSpec {
    let requirement = |requirement: &Requirement| v1::Requirement {
        key: requirement.key.to_string(),
        description: requirement.description.clone(),
        optional: requirement.optional,
    };
    v1::AgentSpec {
        agent: manifest.agent.to_string(),
        owner: manifest.owner.to_string(),
        account: manifest.account.as_deref().unwrap_or_default().to_owned(),
        service_account: manifest.service_account.as_deref().unwrap_or_default().to_owned(),
        uid: manifest.uid,
        gid: manifest.gid,
        kubernetes: manifest.kubernetes.as_deref().map(|pod| v1::PodIdentity {
            namespace: pod.namespace.as_ref().to_owned(),
            service_account: pod.service_account.as_ref().to_owned(),
        }),
        nodes: manifest.nodes.iter().map(ToString::to_string).collect(),
        integrations: manifest.integrations.iter().map(requirement).collect(),
        accounts: manifest
            .accounts
            .iter()
            .map(|(provider, address)| (provider.to_string(), address.to_string()))
            .collect(),
    }
}

pub(super) fn manifest(spec: v1::AgentSpec) -> Result<Manifest, InvalidId> {
    let requirement = |requirement: v1::Requirement| {
        Ok(Requirement {
            key: requirement.key.parse()?,
            description: requirement.description,
            optional: requirement.optional,
        })
    };
    let address = |text: String| Some(text).filter(|text| !text.is_empty()).map(Into::into);
    Ok(Manifest {
        agent: spec.agent.parse()?,
        owner: spec.owner.parse()?,
        account: address(spec.account),
        service_account: address(spec.service_account),
        accounts: spec
            .accounts
            .into_iter()
            .map(|(provider, address)| Ok((provider.parse()?, address.into())))
            .collect::<Result<_, InvalidId>>()?,
        uid: spec.uid,
        gid: spec.gid,
        kubernetes: spec.kubernetes.map(|pod| {
            Box::new(PodIdentity {
                namespace: pod.namespace.into(),
                service_account: pod.service_account.into(),
            })
        }),
        nodes: spec
            .nodes
            .iter()
            .map(|node| node.parse())
            .collect::<Result<_, InvalidId>>()?,
        integrations: spec
            .integrations
            .into_iter()
            .map(requirement)
            .collect::<Result<_, InvalidId>>()?,
    })
}

pub(super) fn agent(view: &AgentView, directory: String, now: Moment) -> v1::Agent {
    v1::Agent {
        spec: Some(spec(&view.snapshot.manifest)),
        status: Some(agent_status(&view.snapshot)),
        directory,
        source: match &view.source {
            AgentSource::File(path) => format!("file:{}", path.display()),
            AgentSource::Api => "api".to_owned(),
        },
        expires_at: view
            .snapshot
            .first_end(now.uptime)
            .map(|end| timestamp(now.wall_at(end))),
        next_renewal_at: view.next_renewal.map(timestamp),
        last_used_at: view.last_used.map(timestamp),
        delivery_problem: view.delivery_problem.clone().unwrap_or_default(),
    }
}

pub(super) fn event(event: &Event) -> v1::WatchEventsResponse {
    v1::WatchEventsResponse {
        time: Some(timestamp(event.time)),
        kind: event.kind.as_str().to_owned(),
        agent: event.agent.as_ref().map(ToString::to_string).unwrap_or_default(),
        integration: event
            .integration
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        state: event
            .state
            .map_or(v1::AgentState::Unspecified, agent_state)
            .into(),
        message: event.message.clone(),
        capabilities: event.capabilities.iter().map(ToString::to_string).collect(),
        expires_at: event.expires_at.map(timestamp),
    }
}

pub(super) fn audit_line(line: AuditLine) -> v1::AuditEvent {
    v1::AuditEvent {
        sequence: line.sequence,
        time: Some(timestamp(line.time)),
        actor: line.actor,
        action: line.action,
        integration: line.integration,
        capabilities: line.capabilities,
        decision: line.decision,
        detail: line.detail,
        hash: line.hash,
        count: line.counted.map_or(0, |counted| counted.lines),
        first_time: line.counted.map(|counted| timestamp(counted.first)),
    }
}

pub(super) fn audit_head(head: ChainPoint) -> v1::AuditHead {
    v1::AuditHead {
        sequence: head.sequence,
        hash: head.hash,
    }
}

pub(super) fn audit_size(size: TrailSize) -> v1::AuditSize {
    v1::AuditSize {
        bytes: size.bytes,
        max_bytes: size.limit.map_or(0, |limit| limit.bytes),
        limited_by_volume: size.limit.is_some_and(|limit| limit.of_volume),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Catalog;

    #[test]
    fn a_capability_carries_its_heading_and_googles_class() {
        let catalog = Catalog::builtin();
        let sent: Vec<_> = catalog.iter().map(capability).collect();
        let named = |key: &str| sent.iter().find(|sent| sent.key == key).unwrap();
        let drive = named("google.drive");
        assert_eq!(
            (drive.group.as_str(), drive.verification()),
            ("Drive", v1::Verification::Restricted)
        );
        assert_eq!(
            named("google.gmail.send").verification(),
            v1::Verification::Sensitive
        );
        assert_eq!(named("google.sa").verification(), v1::Verification::Unspecified);
    }
}
