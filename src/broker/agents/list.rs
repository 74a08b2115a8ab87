//! The agents as the operator sees them, and the handles of those who serve them.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    clock::{self, Uptime},
    id::{AgentName, OwnerId},
    registry::{
        agent_state::AgentState,
        handle::AgentHandle,
        snapshot::AgentSnapshot,
        state::{AgentEntry, AgentSource, Registry, SharedRegistry},
        time::BrokerClock,
    },
    renewal::{schedule::Schedule, services::Services},
};

/// An agent as the operator sees it.
pub struct AgentView {
    /// What it is told.
    pub snapshot: Arc<AgentSnapshot>,
    /// Where it was declared.
    pub source: AgentSource,
    /// When its token is renewed next.
    pub next_renewal: Option<Timestamp>,
    /// The second in which its socket handed it a token last, since the daemon started. Reading a file leaves no trace.
    pub last_used: Option<Timestamp>,
    /// What went wrong writing its directory.
    pub delivery_problem: Option<String>,
}

/// Agents as the operator sees them, and their handles.
pub struct AgentList {
    clock: Arc<BrokerClock>,
    schedule: Arc<Schedule>,
    registry: Arc<SharedRegistry>,
}

impl AgentList {
    /// With what it needs of the parts before it.
    pub(in crate::broker) fn new(services: &Services) -> Arc<Self> {
        Arc::new(Self {
            clock: services.clock.clone(),
            schedule: services.schedule.clone(),
            registry: services.registry.clone(),
        })
    }

    /// One agent.
    pub fn agent(&self, name: &AgentName) -> Option<AgentView> {
        let registry = self.registry.lock();
        registry.agents.get(name).map(|entry| self.view(&registry, entry))
    }

    /// The agents, by name; only the owner's where one is given.
    pub fn agents(&self, owner: Option<&OwnerId>) -> Vec<AgentView> {
        let registry = self.registry.lock();
        let wanted = |entry: &&AgentEntry| owner.is_none_or(|owner| entry.manifest.owner == *owner);
        registry
            .agents
            .values()
            .filter(wanted)
            .map(|entry| self.view(&registry, entry))
            .collect()
    }

    /// The handle of one agent, for whoever serves it; `None` also while another holder of the name has not left.
    pub fn handle(&self, name: &AgentName) -> Option<Arc<AgentHandle>> {
        let registry = self.registry.lock();
        let entry = registry.agents.get(name).filter(|entry| !entry.is_arriving());
        entry.map(|entry| entry.handle.clone())
    }

    /// True while the agent of this name waits for another holder of the name to leave.
    pub fn is_arriving(&self, name: &AgentName) -> bool {
        let registry = self.registry.lock();
        registry.agents.get(name).is_some_and(AgentEntry::is_arriving)
    }

    /// The handles of all agents, also of those whose holder before has not left.
    pub fn handles(&self) -> Vec<Arc<AgentHandle>> {
        self.registry
            .lock()
            .agents
            .values()
            .map(|entry| entry.handle.clone())
            .collect()
    }

    /// How many agents there are, by state.
    pub fn agents_by_state(&self) -> Vec<(AgentState, usize)> {
        let registry = self.registry.lock();
        AgentState::ALL
            .into_iter()
            .map(|state| {
                (
                    state,
                    registry
                        .agents
                        .values()
                        .filter(|a| a.handle.peek().state == state)
                        .count(),
                )
            })
            .collect()
    }

    /// How many agents lack a token that they ought to have: their owners have nothing to do for it.
    pub fn agents_short_of_token(&self) -> usize {
        self.count(AgentSnapshot::is_short_of_token)
    }

    /// How many agents do not work before a person does something.
    pub fn agents_waiting_for_people(&self) -> usize {
        self.count(AgentSnapshot::waits_for_a_person)
    }

    fn count(&self, wanted: impl Fn(&AgentSnapshot, Uptime) -> bool) -> usize {
        let now = self.clock.uptime();
        let registry = self.registry.lock();
        let entries = registry.agents.values();
        entries.filter(|entry| wanted(&entry.handle.peek(), now)).count()
    }

    fn view(&self, registry: &Registry, entry: &AgentEntry) -> AgentView {
        let now = self.clock.moment();
        let leaving = || registry.leaving.problem(entry.handle.name());
        let second = |used| clock::whole_second(now.wall_at(used));
        AgentView {
            snapshot: entry.handle.snapshot(),
            source: entry.source.clone(),
            next_renewal: entry
                .keys
                .iter()
                .filter_map(|key| self.schedule.due_at(key))
                .min()
                .map(|due| now.wall_at(due)),
            last_used: entry.handle.audited.last_use().map(second),
            delivery_problem: entry.handle.delivery_problem().or_else(leaving),
        }
    }
}
