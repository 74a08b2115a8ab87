//! Puts the broker together: each part is given what it needs, and nothing else.

use std::sync::Arc;

use super::{
    agents::{
        authenticator::AgentAuthenticator, changes::Agents, holder_keeper::HolderKeeper, list::AgentList,
    },
    issue::issuer::Issuer,
};
use crate::{
    accounts::{
        checks::AccountChecks, commit_grant::Grants, connect::Connect, connect_target::Targets,
        disconnect::Disconnect, first_use::FirstUse, health::AccountHealth, import::Import,
        list::AccountList, restored::RestoredAccounts, security_events::SecurityEventHandler,
        service_accounts::ServiceAccounts, tables::AccountTables, unusable::UnusableAccounts,
        unusable_records::Unusable,
    },
    audit::journal::Journal,
    broker::agents::holders::Holders,
    renewal::{
        assertions::Assertions, parts::Renewing, publisher::Publisher, recovery::Recovery, renewer::Renewer,
        scheduler::Renewals, services::Services, turns::Turns,
    },
    revocation::revocations::Revocations,
};

/// What deals with accounts.
pub(super) struct AccountParts {
    pub(super) account_list: Arc<AccountList>,
    pub(super) account_checks: Arc<AccountChecks>,
    pub(super) connect: Arc<Connect>,
    pub(super) import: Arc<Import>,
    pub(super) service_accounts: Arc<ServiceAccounts>,
    pub(super) disconnect: Arc<Disconnect>,
    pub(super) security_events: Arc<SecurityEventHandler>,
    pub(super) unusable_accounts: Arc<UnusableAccounts>,
    pub(super) restored: Arc<RestoredAccounts>,
}

/// What deals with agents.
pub(super) struct AgentParts {
    pub(super) agent_list: Arc<AgentList>,
    pub(super) agents: Arc<Agents>,
    pub(super) holder_keeper: Arc<HolderKeeper>,
    pub(super) journal: Arc<Journal>,
    pub(super) authenticator: Arc<AgentAuthenticator>,
    pub(super) issuer: Arc<Issuer>,
}

/// What renews and publishes.
pub(super) fn renewing(services: &Services, revocations: &Arc<Revocations>) -> Renewing {
    let publisher = Publisher::new(services);
    let recovery = Recovery::new(services, &publisher);
    let turns = Turns::new(services, &publisher, &recovery);
    let assertions = Assertions::new(services, &recovery);
    let successors = revocations.clone();
    let renewer = Renewer::new(services, &assertions, &publisher, &recovery, successors);
    let renewals = Renewals::new(services, &publisher, &recovery, &renewer, &turns);
    Renewing {
        publisher,
        recovery,
        turns,
        assertions,
        renewals,
    }
}

/// What deals with accounts.
pub(super) fn accounts(
    services: &Services,
    tables: &AccountTables,
    revocations: &Arc<Revocations>,
    renewing: &Renewing,
) -> AccountParts {
    let account_list = AccountList::new(services);
    let health = AccountHealth::new(services, tables, renewing);
    let account_checks = AccountChecks::new(services, tables, renewing, &account_list, &health);
    let targets = Targets::new(services);
    let first_use = FirstUse::new(services, tables, renewing);
    let grants = Grants::new(services, tables, revocations, renewing, &first_use, &targets);
    let connect = Connect::new(
        services,
        tables,
        renewing,
        &account_checks,
        &account_list,
        &first_use,
        &grants,
    );
    let import = Import::new(services, &account_list, &first_use, &grants, &targets);
    let service_accounts = ServiceAccounts::new(services, renewing, &account_list, &grants);
    let disconnect = Disconnect::new(services, tables, revocations, renewing, &account_list, &grants);
    let security_events = SecurityEventHandler::new(services, tables, renewing, &account_checks, &health);
    let unusable_accounts = UnusableAccounts::new(services, tables, &grants);
    let restored = RestoredAccounts::new(services, renewing);
    AccountParts {
        account_list,
        account_checks,
        connect,
        import,
        service_accounts,
        disconnect,
        security_events,
        unusable_accounts,
        restored,
    }
}

/// What deals with agents.
pub(super) fn agents(
    services: &Services,
    unusable: &Arc<Unusable>,
    holders: Holders,
    renewing: &Renewing,
) -> AgentParts {
    let agent_list = AgentList::new(services);
    let agents = Agents::new(services, unusable, Arc::new(holders), renewing, &agent_list);
    let holder_keeper = HolderKeeper::new(services, &agents);
    let journal = Journal::new(
        &services.audit,
        &services.clock,
        &services.context,
        &services.registry,
    );
    let authenticator = AgentAuthenticator::new(&agent_list, &journal);
    let issuer = Issuer::new(services, renewing);
    AgentParts {
        agent_list,
        agents,
        holder_keeper,
        journal,
        authenticator,
        issuer,
    }
}
