//! How the daemon is doing, as `GetDaemonStatus` tells it.

use std::{path::PathBuf, sync::Arc};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{client_names::ClientList, convert};
use crate::{
    broker::{AgentState, Broker},
    config::InForce,
    health::Readiness,
    keyring::KeyringCases,
    net::tls::ServedCertificates,
    proto::{timestamp, v1},
};

/// What the service says about the daemon besides what the broker knows.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Since when it runs.
    pub started_at: Timestamp,
    /// Where agent directories are.
    pub runtime_dir: PathBuf,
    /// What is wrong with the configuration, one sentence each.
    pub warnings: Vec<String>,
    /// What it was started with.
    pub in_force: Arc<InForce>,
    /// Whether the kubelet has registered the CSI driver, where there is one.
    pub registered: Option<watch::Receiver<bool>>,
    /// What it cannot do.
    pub readiness: Arc<Readiness>,
    /// What is served with over TLS, where something is.
    pub certificates: ServedCertificates,
    /// Whom `[admin]` serves, where it is configured.
    pub admin_clients: Option<Arc<ClientList>>,
}

/// The answer.
pub(super) async fn of(
    broker: &Broker,
    keyring: &KeyringCases,
    facts: &Facts,
) -> v1::GetDaemonStatusResponse {
    let states = broker.agent_list.agents_by_state();
    let count = |wanted: fn(AgentState) -> bool| {
        states
            .iter()
            .filter(|(state, _)| wanted(*state))
            .map(|(_, count)| *count as u64)
            .sum()
    };
    let next = broker.next_renewal();
    // The rest is told whatever the database does.
    let head = broker.store().trail_head().await.ok();
    let size = broker.store().trail_size().await.ok();
    let configuration_changes = facts.in_force.look_for_changes().await;
    let mut problems = problems(broker, facts, &configuration_changes);
    problems.extend(keyring.inspection.troubles().await);
    problems.extend(keyring.rotation.trouble());
    v1::GetDaemonStatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: Some(timestamp(facts.started_at)),
        runtime_dir: facts.runtime_dir.display().to_string(),
        public_url: broker.public_url().to_owned(),
        integrations: broker.accounts.account_count() as u64,
        agents: count(|_| true),
        agents_active: count(|state| state == AgentState::Active),
        next_renewal_at: next.map(|at| timestamp(broker.moment().wall_at(at))),
        clock_skew_seconds: broker.clock_skew().as_secs(),
        problems,
        unusable_records: broker.unusable.unusable_records(),
        configuration_changes,
        google_client_id: facts.in_force.client_id().to_owned(),
        unmet_conditions: facts.readiness.unmet().into_iter().map(convert::unmet).collect(),
        agents_short_of_token: broker.agent_list.agents_short_of_token() as u64,
        agents_waiting_for_people: broker.agent_list.agents_waiting_for_people() as u64,
        renewals_refused_by_store: broker.accounts.renewals_refused_by_store() as u64,
        bindable_accounts: broker.accounts.bindable_count() as u64,
        audit_head: head.filter(|head| head.sequence > 0).map(convert::audit_head),
        audit_size: size.map(convert::audit_size),
    }
}

/// What is wrong, beside `changes` of the configuration.
fn problems(broker: &Broker, facts: &Facts, changes: &[String]) -> Vec<String> {
    let mut problems = facts.warnings.clone();
    problems.extend_from_slice(changes);
    let registered = facts.registered.as_ref();
    if registered.is_some_and(|registered| !*registered.borrow()) {
        problems.push(
            "the kubelet has not registered the CSI driver, so pods get no volumes: its log says why"
                .to_owned(),
        );
    }
    problems.extend(
        facts
            .certificates
            .all()
            .filter_map(|(_, served)| served.trouble()),
    );
    let clients = facts.admin_clients.as_ref();
    problems.extend(clients.and_then(|clients| clients.in_no_role(broker.moment().wall)));
    problems.extend(broker.agents.manifest_problems());
    problems.extend(broker.unusable.unusable_records());
    match broker.restored.unchecked_accounts() {
        0 => {}
        held => problems.push(format!(
            "the database was restored from a backup: accounts that are still to be checked with {}: {held}",
            broker.providers().common_name()
        )),
    }
    let skew = broker.clock_skew();
    if !skew.is_zero() {
        problems.push(format!(
            "the clock is {} s {} the provider's: set it by NTP",
            skew.as_secs().abs(),
            if skew.is_positive() { "behind" } else { "ahead of" }
        ));
    }
    problems
}
