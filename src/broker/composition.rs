//! Puts the broker together: each part is given what it needs, and nothing else.

use std::sync::Arc;

use super::{
    accounts::{
        checks::AccountChecks, commit_grant::Grants, connect::Connect, connect_target::Targets,
        disconnect::Disconnect, first_use::FirstUse, health::AccountHealth, import::Import,
        list::AccountList, restored::RestoredAccounts, revocations::Revocations,
        security_events::SecurityEventHandler, service_accounts::ServiceAccounts, unusable::UnusableAccounts,
    },
    agents::{
        authenticator::AgentAuthenticator, changes::Agents, holder_keeper::HolderKeeper, list::AgentList,
    },
    audit::journal::Journal,
    issue::issuer::Issuer,
    publisher::Publisher,
    renewal::{
        assertions::Assertions, parts::Renewing, recovery::Recovery, renewer::Renewer, scheduler::Renewals,
        turns::Turns,
    },
    services::Services,
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

impl Services {
    /// What renews, revokes and publishes.
    pub(super) fn renewing(&self) -> Renewing {
        let publisher = Publisher::new(self);
        let recovery = Recovery::new(self, &publisher);
        let turns = Turns::new(self, &publisher, &recovery);
        let assertions = Assertions::new(self, &recovery);
        let revocations = Revocations::new(self);
        let renewer = Renewer::new(self, &assertions, &publisher, &recovery, &revocations);
        let renewals = Renewals::new(self, &publisher, &recovery, &renewer, &turns);
        Renewing {
            publisher,
            recovery,
            turns,
            assertions,
            revocations,
            renewals,
        }
    }

    /// What deals with accounts.
    pub(super) fn accounts(&self, renewing: &Renewing) -> AccountParts {
        let account_list = AccountList::new(self);
        let health = AccountHealth::new(self, renewing);
        let account_checks = AccountChecks::new(self, renewing, &account_list, &health);
        let targets = Targets::new(self);
        let first_use = FirstUse::new(self, renewing);
        let grants = Grants::new(self, renewing, &first_use, &targets);
        let connect = Connect::new(
            self,
            renewing,
            &account_checks,
            &account_list,
            &first_use,
            &grants,
            &targets,
        );
        let import = Import::new(self, &account_list, &first_use, &grants, &targets);
        let service_accounts = ServiceAccounts::new(self, renewing, &account_list, &grants);
        let disconnect = Disconnect::new(self, renewing, &account_list, &grants);
        let security_events = SecurityEventHandler::new(self, renewing, &account_checks, &health);
        let unusable_accounts = UnusableAccounts::new(self, &grants);
        let restored = RestoredAccounts::new(self, renewing);
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
    pub(super) fn agents(&self, renewing: &Renewing) -> AgentParts {
        let agent_list = AgentList::new(self);
        let agents = Agents::new(self, renewing, &agent_list);
        let holder_keeper = HolderKeeper::new(self, &agents);
        let journal = Journal::new(self);
        let authenticator = AgentAuthenticator::new(&agent_list, &journal);
        let issuer = Issuer::new(self, renewing);
        AgentParts {
            agent_list,
            agents,
            holder_keeper,
            journal,
            authenticator,
            issuer,
        }
    }
}
