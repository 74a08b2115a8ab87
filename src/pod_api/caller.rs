//! One connection: a stranger's until something was let in on it, then a pod's.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio_util::sync::CancellationToken;

use crate::{
    budget::{
        Budget, Exhausted, Peer, Share,
        descriptors::part,
        table::{
            REMOTE_PART, REMOTE_PODS, REMOTE_QUESTIONS_PER_CONNECTION, REMOTE_REFUSALS_PER_CONNECTION,
            REMOTE_SERVICE_ACCOUNTS,
        },
    },
    kubernetes::Proven,
    manifest::PodIdentity,
    net::seats::Seat,
};

/// The places of pods' connections.
pub(super) struct PodPlaces {
    pods: Budget<Arc<Proven>>,
    service_accounts: Budget<PodIdentity>,
}

impl PodPlaces {
    pub(super) fn new() -> Self {
        Self {
            pods: Budget::new(REMOTE_PODS.within(part(REMOTE_PART))),
            service_accounts: Budget::new(REMOTE_SERVICE_ACCOUNTS.within(part(REMOTE_PART))),
        }
    }

    fn take(&self, pod: &Arc<Proven>) -> Result<PodPlace, Exhausted> {
        Ok(PodPlace {
            pod: Arc::clone(pod),
            _shares: (self.pods.take(pod)?, self.service_accounts.take(&pod.identity)?),
        })
    }
}

/// A pod's place for one connection.
struct PodPlace {
    pod: Arc<Proven>,
    _shares: (Share<Arc<Proven>>, Share<PodIdentity>),
}

/// One connection.
pub(super) struct Caller {
    from: Peer,
    /// No further requests.
    end: CancellationToken,
    /// Away with it.
    out: CancellationToken,
    let_in: AtomicBool,
    standing: Mutex<Standing>,
}

enum Standing {
    Stranger {
        seat: Seat,
        asking: usize,
        refused: usize,
    },
    Pod(PodPlace),
}

impl Caller {
    /// A stranger's connection; it ends with `shutdown`, and has to go when `out` is cancelled.
    pub(super) fn new(
        from: Peer,
        seat: Seat,
        out: CancellationToken,
        shutdown: &CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            from,
            end: shutdown.child_token(),
            out,
            let_in: AtomicBool::new(false),
            standing: Mutex::new(Standing::Stranger {
                seat,
                asking: 0,
                refused: 0,
            }),
        })
    }

    /// Where it came from.
    pub(super) fn from(&self) -> Peer {
        self.from
    }

    /// Cancelled when the connection is to take no further requests.
    pub(super) fn end(&self) -> &CancellationToken {
        &self.end
    }

    /// Cancelled when the connection has to go at once.
    pub(super) fn out(&self) -> &CancellationToken {
        &self.out
    }

    /// Set with the first request that was let in.
    pub(super) fn was_let_in(&self) -> &AtomicBool {
        &self.let_in
    }

    /// Whose connection it is, once something was let in on it.
    pub(super) fn pod(&self) -> Option<Arc<Proven>> {
        match &*self.standing() {
            Standing::Stranger { .. } => None,
            Standing::Pod(place) => Some(Arc::clone(&place.pod)),
        }
    }

    /// A request is being judged for as long as what this returns is held; nothing when too many of them are.
    pub(super) fn ask(self: &Arc<Self>) -> Option<Asking> {
        if let Standing::Stranger { seat, asking, .. } = &mut *self.standing() {
            if *asking >= REMOTE_QUESTIONS_PER_CONNECTION {
                return None;
            }
            *asking += 1;
            seat.note_asking(true);
        }
        Some(Asking(Arc::clone(self)))
    }

    /// A request of this pod's was let in: from now on the connection is the pod's.
    ///
    /// # Errors
    /// When the pod, or its service account, has as many connections as it may.
    pub(super) fn let_in(&self, pod: &Arc<Proven>, places: &PodPlaces) -> Result<(), Exhausted> {
        let mut standing = self.standing();
        if let Standing::Stranger { .. } = &*standing {
            *standing = Standing::Pod(places.take(pod)?);
            self.let_in.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A request was refused. A stranger's connection ends after a few of them: in good order, unless they go on.
    pub(super) fn note_refused(&self) {
        if let Standing::Stranger { refused, .. } = &mut *self.standing() {
            *refused += 1;
            if *refused >= REMOTE_REFUSALS_PER_CONNECTION {
                self.end.cancel();
            }
            if *refused >= 2 * REMOTE_REFUSALS_PER_CONNECTION {
                self.out.cancel();
            }
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being judged.
pub(super) struct Asking(Arc<Caller>);

impl Drop for Asking {
    fn drop(&mut self) {
        if let Standing::Stranger { seat, asking, .. } = &mut *self.0.standing() {
            *asking = asking.saturating_sub(1);
            seat.note_asking(false);
        }
    }
}
