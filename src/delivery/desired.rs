//! What an agent's place is to become: whom it serves, and whether a worker is at it.

use std::{convert::Infallible, sync::Arc};

use tokio::sync::mpsc;

use crate::broker::AgentHandle;

/// What is to be done, and whether somebody is at it.
#[derive(Default)]
pub(super) struct Desired {
    /// Whom to serve; nobody when the directory is to go.
    target: Option<Arc<AgentHandle>>,
    /// Earlier bearers of the name that still wait to hear that nothing is left of them.
    superseded: Vec<Arc<AgentHandle>>,
    busy: bool,
    again: bool,
    /// Dropped when the work is done.
    witness: Option<mpsc::Sender<Infallible>>,
}

impl Desired {
    /// `agent` changed: it is to be served, or what is left of it to go. True when a worker is needed.
    pub(super) fn set_target(&mut self, agent: &Arc<AgentHandle>) -> bool {
        let outlived = |target: &Arc<AgentHandle>| !Arc::ptr_eq(target, agent) && !target.is_removed();
        if agent.is_removed() && self.target.as_ref().is_some_and(outlived) {
            self.superseded.push(Arc::clone(agent));
            return self.claim();
        }
        if let Some(before) = self.target.take_if(|target| !Arc::ptr_eq(target, agent)) {
            self.superseded.push(before);
        }
        self.target = Some(Arc::clone(agent));
        self.claim()
    }

    /// Nobody has the name. True when a worker is needed.
    pub(super) fn set_no_target(&mut self, witness: mpsc::Sender<Infallible>) -> bool {
        self.witness = Some(witness);
        self.claim()
    }

    /// There is something to do. True when a worker is needed; else the one that is at it does it.
    pub(super) fn claim(&mut self) -> bool {
        if self.busy {
            self.again = true;
            return false;
        }
        self.busy = true;
        true
    }

    /// Whom to serve.
    pub(super) fn target(&self) -> Option<Arc<AgentHandle>> {
        self.target.clone()
    }

    /// What the worker is to do now: whom to serve, and who waits to hear that nothing is left of them.
    pub(super) fn begin(&mut self) -> (Option<Arc<AgentHandle>>, Vec<Arc<AgentHandle>>) {
        (self.target.clone(), std::mem::take(&mut self.superseded))
    }

    /// The worker has done it; `left` are those of whom something is left. True when there is more to do.
    pub(super) fn end(&mut self, left: Vec<Arc<AgentHandle>>) -> bool {
        self.superseded.extend(left);
        if std::mem::take(&mut self.again) {
            return true;
        }
        self.busy = false;
        self.witness = None;
        false
    }

    /// True when nobody is served and nothing is to be done.
    pub(super) fn is_vacant(&self) -> bool {
        !self.busy && self.target.as_ref().is_none_or(|agent| agent.is_removed())
    }
}
