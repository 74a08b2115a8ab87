//! Which events are an owner's business.

use std::{collections::HashSet, sync::Arc};

use super::Broker;
use crate::{
    id::{AgentName, IntegrationId, OwnerId},
    policy::select_account::AccountRef,
    registry::events::Event,
};

/// Tells an owner's events from others'. It remembers what was seen to be the owner's: when that is gone, it is their business
/// too.
pub struct OwnersEvents {
    broker: Arc<Broker>,
    /// `None` for whom everything concerns.
    owner: Option<OwnerId>,
    accounts: HashSet<IntegrationId>,
    agents: HashSet<AgentName>,
}

impl OwnersEvents {
    /// From now on. All events concern whoever is no owner.
    pub fn of(broker: &Arc<Broker>, owner: Option<&OwnerId>) -> Self {
        let accounts = owner.map(|owner| broker.accounts.accounts(Some(owner)));
        let agents = owner.map(|owner| broker.agent_list.agents(Some(owner)));
        let (accounts, agents) = (
            accounts
                .into_iter()
                .flatten()
                .map(|view| view.record.id)
                .collect(),
            agents
                .into_iter()
                .flatten()
                .map(|view| view.snapshot.manifest.agent.clone())
                .collect(),
        );
        Self {
            broker: broker.clone(),
            owner: owner.cloned(),
            accounts,
            agents,
        }
    }

    /// Whether this one concerns them.
    pub fn concern(&mut self, event: &Event) -> bool {
        let Some(owner) = self.owner.clone() else {
            return true;
        };
        let account = event.integration.as_ref();
        let agent = event.agent.as_ref();
        account.is_some_and(|id| self.is_account_of(&owner, id))
            || agent.is_some_and(|name| self.is_agent_of(&owner, name))
    }

    fn is_account_of(&mut self, owner: &OwnerId, id: &IntegrationId) -> bool {
        let account = self.broker.accounts.account(&AccountRef::Id(id.clone()));
        if account.is_ok_and(|view| view.record.owner == *owner) {
            self.accounts.insert(id.clone());
        }
        self.accounts.contains(id)
    }

    fn is_agent_of(&mut self, owner: &OwnerId, name: &AgentName) -> bool {
        // A name may have gone to somebody else.
        match self.broker.agent_list.agent(name) {
            Some(view) if view.snapshot.manifest.owner == *owner => self.agents.insert(name.clone()),
            Some(_) => self.agents.remove(name),
            None => true,
        };
        self.agents.contains(name)
    }
}
