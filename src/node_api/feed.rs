//! What one node is told: which agents are its own, and what each of them may see.
//!
//! What is told is looked at when it is sent, so that a slow node skips what was replaced meanwhile and costs no memory. Of
//! several changes at once, those that take something away come first.

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{broadcast, mpsc},
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};
use tonic::{Code, Status, Streaming};

use super::{
    node::Node,
    parts::{Parts, status, stopping},
};
use crate::{
    agent_view::{view::View, wire},
    broker::{AgentHandle, Event, EventKind},
    id::AgentName,
    proto::v1::{
        AgentView, Assignment, Heartbeat, Resume, Settled, SyncRequest, SyncResponse, Withdrawal,
        sync_response::Message,
    },
};

/// How often the node is told that the broker is still there.
const BEAT: Duration = Duration::from_secs(15);
/// A node that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// How often all agents are looked at without a notice that one was added.
const LOOK: Duration = Duration::from_secs(60);

/// Says that something about an agent may be another.
type Change = Pin<Box<dyn Future<Output = Arc<AgentHandle>> + Send>>;

/// What one node is told.
pub(super) struct Feed {
    parts: Arc<Parts>,
    node: Arc<Node>,
    /// The revisions that the node has.
    told: HashMap<AgentName, Vec<u8>>,
    /// The agents that are its own.
    own: HashMap<AgentName, Arc<AgentHandle>>,
    changes: FuturesUnordered<Change>,
    out: mpsc::Sender<Result<SyncResponse, Status>>,
}

impl Feed {
    /// For a node that has what it says.
    pub(super) fn new(
        parts: Arc<Parts>,
        node: Arc<Node>,
        resume: &Resume,
        out: mpsc::Sender<Result<SyncResponse, Status>>,
    ) -> Self {
        let known = resume.known.iter();
        let told = known.filter_map(|known| Some((known.agent.parse().ok()?, known.revision.clone())));
        Self {
            parts,
            node,
            told: told.collect(),
            own: HashMap::new(),
            changes: FuturesUnordered::new(),
            out,
        }
    }

    /// Tells which agents are the node's, and then what it does not have of them.
    ///
    /// # Errors
    /// Why the stream ends.
    pub(super) async fn begin(&mut self) -> Result<(), Status> {
        let agents = self.agents();
        let is_there = |agent: &&Arc<AgentHandle>| !self.is_arriving(agent);
        let names: Vec<AgentName> = agents
            .iter()
            .filter(is_there)
            .map(|agent| agent.name().clone())
            .collect();
        self.told.retain(|name, _| names.contains(name));
        let names = names.iter().map(ToString::to_string).collect();
        self.send(Message::Assignment(Assignment { agents: names }))
            .await?;
        let parts = Arc::clone(&self.parts);
        let _turn = tokio::select! {
            turn = parts.snapshots.acquire() => turn,
            () = parts.shutdown.cancelled() => return Err(stopping()),
        };
        self.tell_all(agents).await?;
        self.send(Message::Settled(Settled {})).await
    }

    /// Tells every change until the stream ends; returns why.
    pub(super) async fn follow(
        mut self,
        mut requests: Streaming<SyncRequest>,
        mut events: broadcast::Receiver<Event>,
    ) -> Status {
        let shutdown = self.parts.shutdown.clone();
        let mut beats = interval_at(Instant::now() + BEAT, BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent_at = Instant::now() + SILENCE;
        loop {
            let told = tokio::select! {
                biased;
                () = shutdown.cancelled() => return stopping(),
                Some(agent) = self.changes.next() => self.tell_changes(agent).await,
                event = events.recv() => self.hear(event).await,
                request = requests.message() => match request {
                    Ok(Some(_)) => {
                        silent_at = Instant::now() + SILENCE;
                        Ok(())
                    }
                    Ok(None) => return Status::ok("the node ended the stream"),
                    Err(error) => return error,
                },
                _ = beats.tick() => self.send(Message::Heartbeat(Heartbeat {})).await,
                _ = looks.tick() => self.look().await,
                () = sleep_until(silent_at) => return silent(),
            };
            if let Err(ended) = told {
                return ended;
            }
        }
    }

    /// The agents that are the node's now, also those whose holder before has not left.
    fn agents(&self) -> Vec<Arc<AgentHandle>> {
        let mut agents = self.parts.server.broker.agent_list.handles();
        agents.retain(|agent| !agent.is_removed() && self.node.serves(&agent.peek().manifest));
        agents
    }

    /// True for an agent that waits for another holder of its name to leave: it is told when it is published.
    fn is_arriving(&self, agent: &AgentHandle) -> bool {
        self.parts.server.broker.agent_list.is_arriving(agent.name())
    }

    /// Tells of an agent that was put, where it is the node's and was not.
    async fn hear(&mut self, event: Result<Event, broadcast::error::RecvError>) -> Result<(), Status> {
        match event {
            Ok(Event {
                kind: EventKind::AgentPut,
                agent: Some(name),
                ..
            }) => self.look_up(&name).await,
            Err(broadcast::error::RecvError::Lagged(_)) => self.look().await,
            // Without a sender the program is going down.
            Err(broadcast::error::RecvError::Closed) => Err(stopping()),
            Ok(_) => Ok(()),
        }
    }

    /// Tells of all agents that are the node's and were not.
    async fn look(&mut self) -> Result<(), Status> {
        let mut agents = self.agents();
        agents.retain(|agent| !self.is_followed(agent));
        self.tell_all(agents).await
    }

    async fn look_up(&mut self, name: &AgentName) -> Result<(), Status> {
        let agent = self.parts.server.broker.agent_list.handle(name);
        let is_new = |agent: &Arc<AgentHandle>| {
            !self.is_followed(agent) && !agent.is_removed() && self.node.serves(&agent.peek().manifest)
        };
        match agent.filter(is_new) {
            Some(agent) => self.tell(agent).await,
            None => Ok(()),
        }
    }

    fn is_followed(&self, agent: &Arc<AgentHandle>) -> bool {
        let followed = self.own.get(agent.name());
        followed.is_some_and(|followed| Arc::ptr_eq(followed, agent))
    }

    /// Tells of this agent and of all others that changed by now.
    async fn tell_changes(&mut self, first: Arc<AgentHandle>) -> Result<(), Status> {
        let mut agents = vec![first];
        while let Some(Some(agent)) = self.changes.next().now_or_never() {
            agents.push(agent);
        }
        agents.retain(|agent| self.is_followed(agent));
        self.tell_all(agents).await
    }

    async fn tell_all(&mut self, mut agents: Vec<Arc<AgentHandle>>) -> Result<(), Status> {
        let now = self.parts.server.moment();
        agents.sort_by_cached_key(|agent| View::new(&agent.peek(), now).token().is_some());
        for agent in agents {
            self.tell(agent).await?;
        }
        Ok(())
    }

    /// Tells what an agent may see, where the node has something else, or that it is not its own any more; and follows it.
    async fn tell(&mut self, agent: Arc<AgentHandle>) -> Result<(), Status> {
        let name = agent.name().clone();
        let snapshot = agent.snapshot();
        if agent.is_removed() || !self.node.serves(&snapshot.manifest) {
            let (code, message) = if agent.is_removed() {
                ("agent_removed", format!("The agent {name} was removed."))
            } else {
                ("wrong_node", self.node.not_its_own(&name))
            };
            self.own.remove(&name);
            self.told.remove(&name);
            let withdrawal = Withdrawal {
                agent: name.to_string(),
                code: code.to_owned(),
                message,
            };
            self.send(Message::Withdrawal(withdrawal)).await?;
            // Somebody else may have the name by now.
            return Box::pin(self.look_up(&name)).await;
        }
        let message = if self.is_arriving(&agent) {
            None
        } else {
            self.message(&agent, &View::new(&snapshot, self.parts.server.moment()))
        };
        self.own.insert(name, Arc::clone(&agent));
        self.changes.push(Box::pin(async move {
            agent.next_snapshot(&snapshot).await;
            agent
        }));
        match message {
            Some(view) => self.send(Message::View(view)).await,
            None => Ok(()),
        }
    }

    /// The view as it is told; nothing where the node has it.
    fn message(&mut self, agent: &Arc<AgentHandle>, view: &View<'_>) -> Option<AgentView> {
        let server = &self.parts.server;
        let project_id = server.project_id();
        let revision = view.digest(project_id).to_vec();
        let before = self.told.insert(agent.name().clone(), revision.clone());
        if before.as_ref() == Some(&revision) {
            return None;
        }
        self.count_uses(agent, view);
        let manifest = &view.snapshot().manifest;
        Some(AgentView {
            revision,
            uid: manifest.uid,
            gid: manifest.gid,
            ..wire::message(&view.document(Some(project_id)))
        })
    }

    /// Who is told of a token takes it, which counts as a use.
    fn count_uses(&self, agent: &Arc<AgentHandle>, view: &View<'_>) {
        let broker = &self.parts.server.broker;
        let mut is_told = false;
        for credential in &view.snapshot().credentials {
            let provider = credential.provider();
            if view.token_of(provider).is_some() {
                is_told = true;
                let _ = broker.issuer.current_of(agent, Some(provider));
            }
        }
        let owner = &view.snapshot().manifest.owner;
        let names = self.node.names.to_string();
        let about = [agent.name().as_str(), owner.as_str(), &names];
        if is_told && self.parts.dedup.is_news(&about) {
            let detail = format!("to {}, at {}", self.node, self.node.from);
            broker.journal.note_remote(agent.name(), &detail);
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Status> {
        let response = SyncResponse {
            message: Some(message),
        };
        let sent = tokio::select! {
            sent = self.out.send(Ok(response)) => sent,
            () = self.parts.shutdown.cancelled() => return Err(stopping()),
        };
        sent.map_err(|_| Status::cancelled("the node is gone"))
    }
}

fn silent() -> Status {
    let message = format!("the node said nothing for {} s", SILENCE.as_secs());
    status(Code::DeadlineExceeded, "silent", message)
}
