//! Follows what changes and sees to it that it reaches the disk, each agent in its own time.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, hash_map::Entry},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use super::{
    agent::AgentReconciler,
    context::{Context, Notice},
    rounds::Rounds,
};
use crate::{
    agent_files::pool::Pool,
    broker::{AgentHandle, ChangeReceiver},
    clock::Uptime,
    health::Pulse,
    id::AgentName,
};

/// How long nothing may be finished before another thread is tried.
const HANGS_AFTER: Duration = Duration::from_secs(1);
/// How long the last changes may take to be written at the end.
const LAST_WORK: Duration = Duration::from_secs(5);

/// What the reconciler can be asked.
pub(super) enum Command {
    /// Which agents are known, and up to which revision.
    Awaited(oneshot::Sender<Vec<(Arc<AgentHandle>, u64)>>),
    /// Remove the directories of these names, unless an agent has one of them by now.
    Remove(Vec<AgentName>, mpsc::Sender<Infallible>),
}

/// What the pool's threads do.
enum Job {
    /// Bring an agent's directory to what is so.
    Reconcile(Arc<AgentReconciler>),
    /// Compare it with how it was left.
    Look(Arc<AgentReconciler>),
    /// Look after the folder of all of them.
    Folder,
    /// Remove some of what agents left.
    Sweep,
}

impl Job {
    fn run(self, context: &Context) {
        match self {
            Self::Reconcile(agent) => agent.reconcile(context),
            Self::Look(agent) => agent.look_after(context),
            Self::Folder => context.look_after_folder(),
            Self::Sweep => context.sweep(),
        }
    }
}

/// What the reconciler knows of a name.
struct Known {
    agent: Arc<AgentReconciler>,
    retry_at: Option<Uptime>,
}

impl Known {
    fn new(name: &AgentName) -> Self {
        Self {
            agent: AgentReconciler::new(name.clone()),
            retry_at: None,
        }
    }
}

/// The task that follows the changes.
pub(super) struct Reconciler {
    context: Arc<Context>,
    pool: Arc<Pool<Job>>,
    agents: HashMap<AgentName, Known>,
    rounds: Rounds,
    /// When more of what agents left is removed; `None` while nothing waits for it.
    sweep_at: Option<Uptime>,
    is_sweeping: bool,
    /// Entries that no longer agree with [`Known::retry_at`] mean nothing.
    retries: BinaryHeap<Reverse<(Uptime, AgentName)>>,
}

impl Reconciler {
    pub(super) fn new(context: Arc<Context>, width: usize) -> Self {
        let shared = Arc::clone(&context);
        let now = context.clock.uptime();
        Self {
            // What a process that was killed was removing.
            sweep_at: context.runtime.takes_trash().then_some(now),
            is_sweeping: false,
            rounds: Rounds::new(now),
            context,
            pool: Pool::new(width, move |job: Job| job.run(&shared)),
            agents: HashMap::new(),
            retries: BinaryHeap::new(),
        }
    }

    pub(super) async fn run(
        mut self,
        mut changes: ChangeReceiver,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut notices: mpsc::UnboundedReceiver<Notice>,
        mut pulse: Pulse,
        shutdown: CancellationToken,
    ) {
        let context = Arc::clone(&self.context);
        let mut watchdog = tokio::time::interval(HANGS_AFTER);
        watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.due();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                // Not while every thread hangs: then it goes round and writes nothing.
                () = pulse.beat(), if !self.pool.is_exhausted() => {}
                Some(notice) = notices.recv() => self.on_notice(notice),
                Some(command) = commands.recv() => self.on_command(command, &mut changes),
                Some(agent) = changes.next() => self.follow(&agent),
                () = wait_until(&context, due) => self.do_what_is_due(),
                _ = watchdog.tick(), if !self.pool.is_idle() => self.pool.unblock(),
            }
        }
        // What was taken away just before the end has to leave the disk all the same.
        while let Some(agent) = changes.try_next() {
            self.follow(&agent);
        }
        let idle = async {
            while !self.pool.is_idle() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(LAST_WORK, idle).await.is_err() {
            tracing::warn!("some agents' directories could not be written before the end");
        }
    }

    fn follow(&mut self, agent: &Arc<AgentHandle>) {
        let known = match self.agents.entry(agent.name().clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let known = Known::new(entry.key());
                entry.insert(known)
            }
        };
        if known.agent.set_target(agent) {
            self.pool.push(Job::Reconcile(Arc::clone(&known.agent)));
        }
    }

    fn on_notice(&mut self, notice: Notice) {
        let now = self.context.clock.uptime();
        match notice {
            Notice::Folder(true) => {
                let all = || {
                    self.agents
                        .values()
                        .map(|known| Arc::clone(&known.agent))
                        .collect()
                };
                for agent in self.rounds.step(now, all) {
                    if agent.wants_a_look() {
                        self.pool.push(Job::Look(agent));
                    }
                }
            }
            Notice::Folder(false) => self.rounds.put_off(now),
            Notice::Changed(name) => {
                if let Some(known) = self.agents.get(&name)
                    && known.agent.try_again()
                {
                    self.pool.push(Job::Reconcile(Arc::clone(&known.agent)));
                }
            }
            Notice::Trash => self.sweep_at = Some(now),
            Notice::Swept(again) => {
                self.is_sweeping = false;
                let again = again.map(|pause| now.after(pause));
                // Something may have come meanwhile.
                self.sweep_at = self.sweep_at.or(again);
            }
            Notice::Retry(name, at) => {
                if let Some(known) = self.agents.get_mut(&name) {
                    known.retry_at = Some(at);
                    self.retries.push(Reverse((at, name)));
                }
            }
            Notice::Gone(name) => {
                // Unless somebody took the name meanwhile.
                if self
                    .agents
                    .get(&name)
                    .is_some_and(|known| known.agent.is_vacant())
                {
                    self.agents.remove(&name);
                }
            }
        }
    }

    fn on_command(&mut self, command: Command, changes: &mut ChangeReceiver) {
        while let Some(agent) = changes.try_next() {
            self.follow(&agent);
        }
        match command {
            Command::Awaited(reply) => {
                let awaited = self.agents.values().filter_map(|known| known.agent.awaited());
                // Whoever asked may have gone away.
                let _ = reply.send(awaited.collect());
            }
            Command::Remove(names, witness) => {
                for name in names {
                    if let Entry::Vacant(entry) = self.agents.entry(name) {
                        let known = Known::new(entry.key());
                        if known.agent.set_no_target(witness.clone()) {
                            self.pool.push(Job::Reconcile(Arc::clone(&known.agent)));
                        }
                        entry.insert(known);
                    }
                }
            }
        }
    }

    fn do_what_is_due(&mut self) {
        let now = self.context.clock.uptime();
        self.retry_due(now);
        if self.rounds.due().is_some_and(|at| now >= at) {
            self.rounds.begin();
            self.pool.push(Job::Folder);
        }
        if !self.is_sweeping && self.sweep_at.take_if(|at| now >= *at).is_some() {
            self.is_sweeping = true;
            self.pool.push(Job::Sweep);
        }
    }

    fn retry_due(&mut self, now: Uptime) {
        while let Some(Reverse((at, _))) = self.retries.peek() {
            if now < *at {
                return;
            }
            let Some(Reverse((at, name))) = self.retries.pop() else {
                return;
            };
            if let Some(known) = self.agents.get_mut(&name)
                && known.retry_at.take_if(|due| *due == at).is_some()
                && known.agent.try_again()
            {
                self.pool.push(Job::Reconcile(Arc::clone(&known.agent)));
            }
        }
    }

    /// When there is something to do without anybody asking for it.
    fn due(&self) -> Option<Uptime> {
        let retry = self.retries.peek().map(|Reverse((at, _))| *at);
        let sweep = self.sweep_at.filter(|_| !self.is_sweeping);
        [retry, sweep, self.rounds.due()].into_iter().flatten().min()
    }
}

async fn wait_until(context: &Context, at: Option<Uptime>) {
    match at {
        Some(at) => context.clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}
