//! How many agents somebody may bring an owner to who acts for that owner alone: each has a socket, a directory and a task.

use crate::{
    id::{AgentName, OwnerId},
    registry::state::{AgentSource, Registry},
};

/// Who acts for one owner alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnersCaller {
    /// Whose agents are theirs to put and to delete; others are none.
    pub owner: OwnerId,
    /// So many agents of the owner's there may be that came over the API, for another one to be added.
    pub most_agents: usize,
}

/// An owner has as many agents as those may bring the owner to who act for nobody else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{owner} has {most} agents that came over the API, as many as a client of {owner} alone may put \
     (`admin.agents_per_owner`): delete one that is not needed, or have the operator allow more"
)]
pub struct TooManyAgents {
    /// Whose.
    pub owner: OwnerId,
    /// How many there may be.
    pub most: usize,
}

impl OwnersCaller {
    /// Refuses an agent that is one too many. One that is there is changed, however many there are.
    pub(super) fn check(&self, registry: &Registry, name: &AgentName) -> Result<(), TooManyAgents> {
        let came_over_api = |name: &AgentName| {
            let entry = registry.agents.get(name);
            entry.is_some_and(|entry| matches!(entry.source, AgentSource::Api))
        };
        let names = registry.agents_of(&self.owner);
        let there = names.iter().filter(|name| came_over_api(name));
        if registry.agents.contains_key(name) || there.count() < self.most_agents {
            return Ok(());
        }
        Err(TooManyAgents {
            owner: self.owner.clone(),
            most: self.most_agents,
        })
    }
}
