//! The agents of a node: each has a task that keeps its directory.

use std::{collections::HashMap, sync::Arc};

use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::agent::{AgentDirectory, News};
use crate::{
    agent_files::{entry::Owner, runtime::Runtime},
    clock::SharedClock,
    id::AgentName,
    relay::{
        broker::Broker,
        forward::{Forwarder, Places},
        skew::BrokerClock,
        state::{State, Trouble},
        upstream::Upstream,
    },
    text::ShowPath,
};

/// What was told of an agent.
pub(super) struct Told {
    pub(super) agent: AgentName,
    pub(super) owner: Owner,
    /// What the broker calls this view.
    pub(super) revision: Vec<u8>,
    pub(super) state: State,
}

struct Served {
    told: Told,
    news: watch::Sender<News>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// The agents.
pub(super) struct NodeAgents {
    runtime: Arc<Runtime>,
    upstream: Arc<Upstream>,
    broker_clock: Arc<BrokerClock>,
    clock: SharedClock,
    places: Places,
    shutdown: CancellationToken,
    served: HashMap<AgentName, Served>,
}

impl NodeAgents {
    /// None yet.
    pub(super) fn new(
        runtime: Arc<Runtime>,
        upstream: Arc<Upstream>,
        broker_clock: Arc<BrokerClock>,
        (clock, places): (SharedClock, Places),
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            runtime,
            upstream,
            broker_clock,
            clock,
            places,
            shutdown,
            served: HashMap::new(),
        }
    }

    /// Serves what was kept, and empties the directories of others: nobody would take away what is in them. They stay, for
    /// containers that have them mounted.
    pub(super) fn begin(&mut self, kept: Vec<Told>) {
        let is_kept = |name: &AgentName| kept.iter().any(|told| told.agent == *name);
        for name in self.runtime.agents().unwrap_or_default() {
            if !is_kept(&name)
                && let Err(error) = self.runtime.empty(&name)
            {
                tracing::error!("{}{error}", self.runtime.path_of(&name).shown());
            }
        }
        for told in kept {
            self.serve(told);
        }
    }

    /// All that was told.
    pub(super) fn told(&self) -> impl Iterator<Item = &Told> {
        self.served.values().map(|served| &served.told)
    }

    /// Takes what was told of an agent. With another reader it is another agent.
    pub(super) async fn put(&mut self, told: Told) {
        let is_same_reader = |served: &Served| served.told.owner == told.owner;
        match self.served.get_mut(&told.agent) {
            Some(served) if is_same_reader(served) => {
                let state = told.state.clone();
                served.told = told;
                let trouble = None;
                served.news.send_replace(News { state, trouble });
            }
            Some(_) => {
                self.remove(&told.agent.clone(), "it is for another user").await;
                self.serve(told);
            }
            None => self.serve(told),
        }
    }

    fn serve(&mut self, told: Told) {
        let agent = told.agent.clone();
        let shown = Arc::default();
        let broker = Broker {
            upstream: self.upstream.for_agent(&agent),
            clock: Arc::clone(&self.broker_clock),
        };
        let forwarder = Forwarder {
            broker: Arc::new(broker),
            shown: Arc::clone(&shown),
            clock: Arc::clone(&self.clock),
            places: self.places.clone(),
            // With a group the socket's mode decides, as it does for the files.
            reader: told.owner.uid.filter(|_| told.owner.gid.is_none()),
        };
        let stop = self.shutdown.child_token();
        let first = News {
            state: told.state.clone(),
            trouble: None,
        };
        let (news, came) = watch::channel(first.clone());
        let directory = AgentDirectory::new(
            agent.clone(),
            first,
            Arc::clone(&self.runtime),
            told.owner,
            Arc::clone(&self.clock),
            (Arc::new(forwarder), shown),
        );
        let task = tokio::spawn(directory.run(came, stop.clone()));
        let served = Served {
            told,
            news,
            stop,
            task,
        };
        self.served.insert(agent, served);
    }

    /// Takes everything from an agent, its directory included.
    pub(super) async fn remove(&mut self, name: &AgentName, why: &str) {
        let Some(served) = self.served.remove(name) else {
            return;
        };
        tracing::info!(agent = %name, "the agent goes: {why}");
        served.stop.cancel();
        let _ = served.task.await;
        if let Err(error) = self.runtime.remove(name) {
            tracing::error!("{}{error}", self.runtime.path_of(name).shown());
        }
    }

    /// Keeps these agents and no others.
    pub(super) async fn keep(&mut self, names: &[AgentName]) {
        let others: Vec<AgentName> = self
            .served
            .keys()
            .filter(|name| !names.contains(name))
            .cloned()
            .collect();
        for name in others {
            self.remove(&name, "the broker does not name it any more").await;
        }
        for name in self.runtime.agents().unwrap_or_default() {
            if !self.served.contains_key(&name)
                && !names.contains(&name)
                && let Err(error) = self.runtime.remove(&name)
            {
                tracing::error!("{}{error}", self.runtime.path_of(&name).shown());
            }
        }
    }

    /// The broker does not answer: what was told holds for as long as its tokens live.
    pub(super) fn note(&self, trouble: Option<&Trouble>) {
        for served in self.served.values() {
            served.news.send_modify(|news| news.trouble = trouble.cloned());
        }
    }

    /// Waits until each agent's task has ended, after `shutdown`.
    pub(super) async fn ended(self) {
        for served in self.served.into_values() {
            let _ = served.task.await;
        }
    }

    /// Makes the folder of agents' directories again where it is gone, and removes what agents left behind.
    pub(super) fn look_after(&self) {
        match self.runtime.restore() {
            Ok(false) => {}
            Ok(true) => tracing::warn!(
                "{} was gone and is made again: start those containers again that have an agent's directory mounted",
                self.runtime.path().shown()
            ),
            Err(error) => tracing::error!("{error}"),
        }
        if self.runtime.takes_trash() {
            while self.runtime.sweep().unwrap_or_default() {}
        }
    }
}
