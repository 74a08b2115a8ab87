//! One agent: what is desired, what is on disk, and the worker that brings the one to the other.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::mpsc;

use super::{
    context::{Context, Notice},
    desired::Desired,
    on_disk::{OnDisk, report},
};
use crate::{broker::AgentHandle, id::AgentName};

/// One agent, whoever bears its name.
pub(super) struct AgentReconciler {
    name: AgentName,
    /// Somebody looks at it, or is about to.
    is_looked_at: AtomicBool,
    desired: Mutex<Desired>,
    /// Only the worker whose turn it is locks it.
    on_disk: Mutex<OnDisk>,
}

impl AgentReconciler {
    pub(super) fn new(name: AgentName) -> Arc<Self> {
        Arc::new(Self {
            on_disk: Mutex::new(OnDisk::new(name.clone())),
            name,
            is_looked_at: AtomicBool::new(false),
            desired: Mutex::default(),
        })
    }

    /// Takes note that `agent` changed. True when the agent has to be handed to a worker.
    pub(super) fn set_target(&self, agent: &Arc<AgentHandle>) -> bool {
        self.desired().set_target(agent)
    }

    /// Takes note that nobody has this name. True when the agent has to be handed to a worker.
    pub(super) fn set_no_target(&self, witness: mpsc::Sender<Infallible>) -> bool {
        self.desired().set_no_target(witness)
    }

    /// True when the agent has to be handed to a worker, to do once more what failed.
    pub(super) fn try_again(&self) -> bool {
        self.desired().claim()
    }

    /// Whom it serves, and what has to be delivered for everything up to now to be on disk.
    pub(super) fn awaited(&self) -> Option<(Arc<AgentHandle>, u64)> {
        let agent = self.desired().target()?;
        let revision = agent.revision();
        Some((agent, revision))
    }

    /// True when nothing is left and nothing is to be done.
    pub(super) fn is_vacant(&self) -> bool {
        self.desired().is_vacant()
    }

    /// Does what is to be done, until there is nothing more.
    pub(super) fn reconcile(&self, context: &Context) {
        loop {
            let (target, superseded) = self.desired().begin();
            let mut on_disk = self.on_disk.lock().unwrap_or_else(PoisonError::into_inner);
            let (notice, leftover) = on_disk.reconcile(context, target.as_ref());
            drop(on_disk);
            for gone in &superseded {
                report(context, gone, gone.revision(), leftover.clone());
            }
            let left = if leftover.is_some() {
                superseded
            } else {
                Vec::new()
            };
            if self.desired().end(left) {
                continue;
            }
            let trash = context.runtime.takes_trash().then_some(Notice::Trash);
            for notice in notice.into_iter().chain(trash) {
                // Without a reconciler the program is going down.
                let _ = context.notices.send(notice);
            }
            return;
        }
    }

    /// True when somebody should look at it: a look that hangs is not followed by another.
    pub(super) fn wants_a_look(&self) -> bool {
        !self.is_looked_at.swap(true, Ordering::AcqRel)
    }

    /// Looks at what is on disk, and has it brought in order where it is not as it was left.
    pub(super) fn look_after(&self, context: &Context) {
        // Whoever is at it sees for himself.
        let changed = self.on_disk.try_lock().map(|on_disk| on_disk.look(context));
        let changed = changed.unwrap_or_default();
        self.is_looked_at.store(false, Ordering::Release);
        if changed.is_empty() {
            return;
        }
        let changed = changed.join(", ");
        context.meddled.count(format_args!("{} ({changed})", self.name));
        let _ = context.notices.send(Notice::Changed(self.name.clone()));
    }

    fn desired(&self) -> MutexGuard<'_, Desired> {
        self.desired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
