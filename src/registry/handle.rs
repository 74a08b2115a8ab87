//! One agent as the delivery side holds it: what is so now, and how to learn that it changed.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc};

use crate::{
    id::AgentName,
    registry::{agent_uses::Audited, refreshes::Refreshes, snapshot::AgentSnapshot},
    secret::AgentSecret,
    telemetry::audit::Concern,
};

/// An agent's handle. Reading it takes no lock that a renewal holds.
pub struct AgentHandle {
    name: AgentName,
    snapshot: ArcSwap<AgentSnapshot>,
    /// Counts the snapshots that were published.
    revision: AtomicU64,
    /// The last revision whose files were written (or were found impossible to write).
    delivered: AtomicU64,
    removed: AtomicBool,
    /// The revision that says that it is gone; 0 while it is there.
    removed_at: AtomicU64,
    /// Somebody else holds an agent of this name after it.
    succeeded: AtomicBool,
    changed: Notify,
    delivery_changed: Notify,
    delivery_problem: Mutex<Option<String>>,
    queued: AtomicBool,
    secret: OnceLock<AgentSecret>,
    pub(crate) audited: Audited,
    pub(crate) refreshes: Refreshes,
}

impl AgentHandle {
    /// For the broker; public for benchmarks.
    #[doc(hidden)]
    pub fn new(name: AgentName, snapshot: AgentSnapshot) -> Arc<Self> {
        Arc::new(Self {
            name,
            snapshot: ArcSwap::from_pointee(snapshot),
            revision: AtomicU64::new(1),
            delivered: AtomicU64::new(0),
            removed: AtomicBool::new(false),
            removed_at: AtomicU64::new(0),
            succeeded: AtomicBool::new(false),
            changed: Notify::new(),
            delivery_changed: Notify::new(),
            delivery_problem: Mutex::default(),
            queued: AtomicBool::new(false),
            secret: OnceLock::new(),
            audited: Audited::default(),
            refreshes: Refreshes::default(),
        })
    }

    /// The agent's name.
    pub fn name(&self) -> &AgentName {
        &self.name
    }

    /// The agent and whose it is, for the audit trail.
    pub(crate) fn concern(&self) -> Concern {
        Concern::agent(&self.peek().manifest.owner, &self.name)
    }

    /// What is so now.
    pub fn snapshot(&self) -> Arc<AgentSnapshot> {
        self.snapshot.load_full()
    }

    /// Like [`Self::snapshot`], without counting a reference: for the read path. Do not hold it across an
    /// `await`.
    pub fn peek(&self) -> arc_swap::Guard<Arc<AgentSnapshot>> {
        self.snapshot.load()
    }

    /// How many snapshots were published. Read it before the snapshot it stands for.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// True once the agent is gone: its directory and socket go too.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// True when the agent is gone and somebody else holds one of its name: what was in the directory goes, and the
    /// directory is for the next.
    pub fn is_succeeded(&self) -> bool {
        self.succeeded.load(Ordering::Acquire)
    }

    /// True when `revision` says that the agent is gone.
    pub(crate) fn is_gone_by(&self, revision: u64) -> bool {
        let removed_at = self.removed_at.load(Ordering::Acquire);
        removed_at > 0 && revision >= removed_at
    }

    /// Resolves once the agent is gone.
    pub async fn removed(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_removed() {
                return;
            }
            changed.await;
        }
    }

    /// Waits for a snapshot newer than `seen`; `None` once the agent is gone. Steps in between may be
    /// skipped: what comes is what is so now.
    pub async fn next_snapshot(&self, seen: &Arc<AgentSnapshot>) -> Option<Arc<AgentSnapshot>> {
        loop {
            let changed = self.changed.notified();
            if self.is_removed() {
                return None;
            }
            let now = self.snapshot();
            if !Arc::ptr_eq(&now, seen) {
                return Some(now);
            }
            changed.await;
        }
    }

    /// What the agent proves itself with where its mount does not; `None` where there is no such way, and for the
    /// moment that an agent is new.
    pub fn secret(&self) -> Option<&AgentSecret> {
        self.secret.get()
    }

    /// Gives the agent its secret, once. The change has to be announced.
    pub(crate) fn set_secret(&self, secret: AgentSecret) {
        if self.secret.set(secret).is_ok() {
            self.revision.fetch_add(1, Ordering::AcqRel);
            self.changed.notify_waiters();
        }
    }

    /// Waits until the agent has its secret, or is gone.
    pub(crate) async fn has_secret(&self) {
        loop {
            let changed = self.changed.notified();
            if self.secret.get().is_some() || self.is_removed() {
                return;
            }
            changed.await;
        }
    }

    /// What went wrong writing the agent's directory.
    pub fn delivery_problem(&self) -> Option<String> {
        self.delivery_problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The delivery side reports that `revision` is on disk, or why it is not.
    pub fn set_delivered(&self, revision: u64, problem: Option<String>) {
        *self
            .delivery_problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = problem;
        self.delivered.fetch_max(revision, Ordering::AcqRel);
        self.delivery_changed.notify_waiters();
    }

    /// Waits until `revision` was delivered, well or badly.
    pub async fn delivered(&self, revision: u64) {
        loop {
            let changed = self.delivery_changed.notified();
            if self.delivered.load(Ordering::Acquire) >= revision {
                return;
            }
            changed.await;
        }
    }

    /// For the broker; public for benchmarks.
    #[doc(hidden)]
    pub fn publish(&self, snapshot: AgentSnapshot) {
        self.snapshot.store(Arc::new(snapshot));
        self.revision.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    /// The agent is gone. `farewell` holds no token, so that no connection that is still open serves one.
    /// `succeeded` says that somebody else holds an agent of its name.
    pub(crate) fn mark_removed(&self, farewell: AgentSnapshot, succeeded: bool) {
        self.succeeded.store(succeeded, Ordering::Release);
        self.removed.store(true, Ordering::Release);
        self.snapshot.store(Arc::new(farewell));
        let before = self.revision.fetch_add(1, Ordering::AcqRel);
        self.removed_at.store(before + 1, Ordering::Release);
        self.changed.notify_waiters();
    }
}

/// Tells the delivery side which agents changed. Each agent stands in it once at most, so it is bounded by
/// the number of agents.
#[derive(Clone)]
pub struct ChangeSender(mpsc::UnboundedSender<Arc<AgentHandle>>);

impl ChangeSender {
    /// The agent has a new snapshot, or was removed.
    pub fn changed(&self, agent: &Arc<AgentHandle>) {
        if !agent.queued.swap(true, Ordering::AcqRel) {
            // Without a receiver nothing is delivered any more: the program is going down.
            let _ = self.0.send(Arc::clone(agent));
        }
    }

    /// True while there is somebody who delivers what changes.
    pub(crate) fn is_followed(&self) -> bool {
        !self.0.is_closed()
    }
}

/// The delivery side's end of the queue.
pub struct ChangeReceiver(mpsc::UnboundedReceiver<Arc<AgentHandle>>);

impl ChangeReceiver {
    /// The next agent that changed. Load its revision and snapshot after this, not before.
    pub async fn next(&mut self) -> Option<Arc<AgentHandle>> {
        let agent = self.0.recv().await?;
        agent.queued.store(false, Ordering::Release);
        Some(agent)
    }

    /// Like [`Self::next`] without waiting.
    pub fn try_next(&mut self) -> Option<Arc<AgentHandle>> {
        let agent = self.0.try_recv().ok()?;
        agent.queued.store(false, Ordering::Release);
        Some(agent)
    }
}

/// A queue of changed agents.
pub fn changes() -> (ChangeSender, ChangeReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (ChangeSender(sender), ChangeReceiver(receiver))
}
