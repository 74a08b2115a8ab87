//! Manifests that name an account by an address that it had before.

use crate::{
    id::AgentName,
    policy::{context::PolicyContext, select_account::agents_on},
    registry::{
        names::is_called,
        state::{Account, Registry},
    },
    store::IntegrationRecord,
};

/// The agents whose manifests name the account by an address that it had before.
pub(crate) fn agents_by_former(
    registry: &Registry,
    context: &PolicyContext,
    account: &Account,
) -> Vec<AgentName> {
    if account.record.former.is_empty() {
        return Vec::new();
    }
    let mut agents = agents_on(registry, context, account);
    agents.retain(|name| {
        let entry = registry.agents.get(name);
        let named = entry.and_then(|entry| entry.manifest.account.as_deref());
        named.is_some_and(|named| !is_called(&account.record, named))
    });
    agents
}

/// What whoever keeps those manifests is told.
pub fn advice(record: &IntegrationRecord, agents: &[AgentName]) -> String {
    let names: Vec<&str> = agents.iter().map(AgentName::as_str).collect();
    format!(
        "The account {} had another address before ({}), by which the manifests of these agents still name it: {}. They go \
         on working; write `account: {}` there.",
        record.account,
        record.former.join(", "),
        names.join(", "),
        record.account
    )
}
