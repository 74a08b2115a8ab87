//! The agents as the operator sees them, and the handles of those who serve them.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    AgentHandle, AgentSnapshot, AgentSource, AgentState, Broker,
    world::{AgentEntry, World},
};
use crate::id::{AgentName, OwnerId};

/// An agent as the operator sees it.
pub struct AgentView {
    /// Its situation.
    pub snapshot: Arc<AgentSnapshot>,
    /// Where it was declared.
    pub source: AgentSource,
    /// When its token is renewed next.
    pub next_renewal: Option<Timestamp>,
    /// When its socket handed it a token last, since the daemon started. Reading a file leaves no trace.
    pub last_used: Option<Timestamp>,
    /// What went wrong writing its directory.
    pub delivery_problem: Option<String>,
}

impl Broker {
    /// One agent.
    pub fn agent(&self, name: &AgentName) -> Option<AgentView> {
        let world = self.world();
        world.agents.get(name).map(|entry| self.view(&world, entry))
    }

    /// The agents, by name; only the owner's where one is given.
    pub fn agents(&self, owner: Option<&OwnerId>) -> Vec<AgentView> {
        let world = self.world();
        let wanted = |entry: &&AgentEntry| owner.is_none_or(|owner| entry.manifest.owner == *owner);
        world
            .agents
            .values()
            .filter(wanted)
            .map(|entry| self.view(&world, entry))
            .collect()
    }

    /// The handle of one agent, for whoever serves it; `None` also while another holder of the name has not left.
    pub fn handle(&self, name: &AgentName) -> Option<Arc<AgentHandle>> {
        let world = self.world();
        let entry = world.agents.get(name).filter(|entry| !entry.is_arriving());
        entry.map(|entry| entry.handle.clone())
    }

    /// True while the agent of this name waits for another holder of the name to leave.
    pub fn is_arriving(&self, name: &AgentName) -> bool {
        let world = self.world();
        world.agents.get(name).is_some_and(AgentEntry::is_arriving)
    }

    /// The handles of all agents, also of those whose holder before has not left.
    pub fn handles(&self) -> Vec<Arc<AgentHandle>> {
        self.world()
            .agents
            .values()
            .map(|entry| entry.handle.clone())
            .collect()
    }

    /// How many agents there are, by state.
    pub fn agents_by_state(&self) -> Vec<(AgentState, usize)> {
        let world = self.world();
        AgentState::ALL
            .into_iter()
            .map(|state| {
                (
                    state,
                    world
                        .agents
                        .values()
                        .filter(|a| a.handle.peek().state == state)
                        .count(),
                )
            })
            .collect()
    }

    /// How many agents could have a token and have none: no person has anything to do for them.
    pub fn agents_short_of_token(&self) -> usize {
        let now = self.uptime();
        let world = self.world();
        let entries = world.agents.values();
        entries
            .filter(|entry| entry.handle.peek().is_short_of_token(now))
            .count()
    }

    fn view(&self, world: &World, entry: &AgentEntry) -> AgentView {
        let now = self.moment();
        let leaving = || world.leaving.problem(entry.handle.name());
        AgentView {
            snapshot: entry.handle.snapshot(),
            source: entry.source.clone(),
            next_renewal: entry
                .keys
                .iter()
                .filter_map(|key| self.renewals.due_at(key))
                .min()
                .map(|due| now.wall_at(due)),
            last_used: entry.handle.audited.last_use(),
            delivery_problem: entry.handle.delivery_problem().or_else(leaving),
        }
    }
}
