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
    pool::Pool,
    slot::{Context, Notice, Slot},
};
use crate::{
    broker::{AgentHandle, ChangeReceiver},
    clock::Uptime,
    health::Pulse,
    id::AgentName,
};

/// How long nothing may be finished before another thread is tried.
const HANGS_AFTER: Duration = Duration::from_secs(1);
/// How long the last changes may take to be written at the end.
const LAST_WORK: Duration = Duration::from_secs(5);

/// What the writer can be asked.
pub(super) enum Command {
    /// Which agents are known, and up to which revision.
    Awaited(oneshot::Sender<Vec<(Arc<AgentHandle>, u64)>>),
    /// Remove the directories of these names, unless an agent has one of them by now.
    Remove(Vec<AgentName>, mpsc::Sender<Infallible>),
}

/// What the writer knows of a name.
struct Known {
    slot: Arc<Slot>,
    retry_at: Option<Uptime>,
}

impl Known {
    fn new(name: &AgentName) -> Self {
        Self {
            slot: Slot::new(name.clone()),
            retry_at: None,
        }
    }
}

/// The task that follows the changes.
pub(super) struct Writer {
    context: Arc<Context>,
    pool: Arc<Pool<Arc<Slot>>>,
    places: HashMap<AgentName, Known>,
    /// Entries that no longer agree with [`Known::retry_at`] mean nothing.
    retries: BinaryHeap<Reverse<(Uptime, AgentName)>>,
}

impl Writer {
    pub(super) fn new(context: Arc<Context>, width: usize) -> Self {
        let shared = Arc::clone(&context);
        Self {
            context,
            pool: Pool::new(width, move |slot: Arc<Slot>| slot.work(&shared)),
            places: HashMap::new(),
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
            let retry_at = self.next_retry();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                // Not while every thread hangs: then it goes round and writes nothing.
                () = pulse.beat(), if !self.pool.is_exhausted() => {}
                Some(notice) = notices.recv() => self.heed(notice),
                Some(command) = commands.recv() => self.obey(command, &mut changes),
                Some(agent) = changes.next() => self.follow(&agent),
                () = wait_until(&context, retry_at) => self.retry_due(),
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
        let known = match self.places.entry(agent.name().clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let known = Known::new(entry.key());
                entry.insert(known)
            }
        };
        if known.slot.point_to(agent) {
            self.pool.push(Arc::clone(&known.slot));
        }
    }

    fn heed(&mut self, notice: Notice) {
        match notice {
            Notice::Retry(name, at) => {
                if let Some(known) = self.places.get_mut(&name) {
                    known.retry_at = Some(at);
                    self.retries.push(Reverse((at, name)));
                }
            }
            Notice::Gone(name) => {
                // Unless somebody took the name meanwhile.
                if self.places.get(&name).is_some_and(|known| known.slot.is_vacant()) {
                    self.places.remove(&name);
                }
            }
        }
    }

    fn obey(&mut self, command: Command, changes: &mut ChangeReceiver) {
        while let Some(agent) = changes.try_next() {
            self.follow(&agent);
        }
        match command {
            Command::Awaited(reply) => {
                let awaited = self.places.values().filter_map(|known| known.slot.awaited());
                // Whoever asked may have gone away.
                let _ = reply.send(awaited.collect());
            }
            Command::Remove(names, witness) => {
                for name in names {
                    if let Entry::Vacant(entry) = self.places.entry(name) {
                        let known = Known::new(entry.key());
                        if known.slot.point_to_nobody(witness.clone()) {
                            self.pool.push(Arc::clone(&known.slot));
                        }
                        entry.insert(known);
                    }
                }
            }
        }
    }

    fn retry_due(&mut self) {
        let now = self.context.clock.uptime();
        while let Some(Reverse((at, _))) = self.retries.peek() {
            if now < *at {
                return;
            }
            let Some(Reverse((at, name))) = self.retries.pop() else {
                return;
            };
            if let Some(known) = self.places.get_mut(&name)
                && known.retry_at.take_if(|due| *due == at).is_some()
                && known.slot.try_again()
            {
                self.pool.push(Arc::clone(&known.slot));
            }
        }
    }

    fn next_retry(&self) -> Option<Uptime> {
        self.retries.peek().map(|Reverse((at, _))| *at)
    }
}

async fn wait_until(context: &Context, at: Option<Uptime>) {
    match at {
        Some(at) => context.clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}
