//! Whose token a pod sends, asked of the Kubernetes API and remembered for a moment.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::gate::Pass;
use crate::{
    clock::{self, SharedClock},
    delivery::kubernetes::{Proven, ReviewError, Reviewer},
    secret::AccessToken,
};

/// How long a verdict holds: a pod whose token the API accepts no longer has ours for so long at most.
const GOOD: Duration = Duration::from_secs(60);
/// How long a refusal holds: a client in a loop costs no question each time.
const BAD: Duration = Duration::from_secs(10);
/// Verdicts that are remembered at most.
const VERDICTS: usize = 4096;
/// Questions under way at most.
const QUESTIONS: usize = 16;

/// A token's SHA-256.
type Digest = [u8; 32];

/// The verdicts. No token is kept, only hashes of them.
pub(super) struct Proofs {
    reviewer: Reviewer,
    clock: SharedClock,
    verdicts: Mutex<HashMap<Digest, Arc<Slot>>>,
    questions: Semaphore,
}

/// One token's verdict; whoever asks about it first asks for all.
type Slot = tokio::sync::Mutex<Option<Verdict>>;

struct Verdict {
    result: Result<Arc<Proven>, ReviewError>,
    /// Until when it holds, in the clock's uptime.
    until: Duration,
}

/// A pod that is proven.
pub(super) struct Proof {
    pub(super) proven: Arc<Proven>,
    /// When it has to be proven again, in the clock's uptime.
    pub(super) until: Duration,
}

impl Proofs {
    pub(super) fn new(reviewer: Reviewer, clock: SharedClock) -> Self {
        Self {
            reviewer,
            clock,
            verdicts: Mutex::default(),
            questions: Semaphore::new(QUESTIONS),
        }
    }

    /// Whose token it is.
    pub(super) async fn prove(&self, token: &AccessToken) -> Result<Proof, ReviewError> {
        let slot = self.slot(token);
        let mut verdict = slot.lock().await;
        if let Some(known) = verdict.as_ref().filter(|known| self.clock.uptime() < known.until) {
            return known.proof();
        }
        let permit = self.questions.acquire().await;
        let result = self.reviewer.review(token).await.map(Arc::new);
        drop(permit);
        let holds = match &result {
            Ok(_) => GOOD,
            Err(ReviewError::Refused(_)) => BAD,
            Err(ReviewError::Unavailable(_)) => Duration::ZERO,
        };
        let until = self.clock.uptime() + holds;
        verdict.insert(Verdict { result, until }).proof()
    }

    /// Watches over an answer that takes its time: ends it by `stop` when the agent is no longer given to the pod, or the
    /// pod can no longer prove itself. Returns when `stop` says that the answer is over.
    pub(super) async fn watch_over(&self, pass: Pass, stop: CancellationToken) {
        let mut until = pass.until;
        loop {
            let snapshot = pass.agent.snapshot();
            if pass.agent.is_removed() {
                // Which the answer says by itself.
                return;
            }
            if pass.check().is_err() {
                return stop.cancel();
            }
            let left = until.saturating_sub(self.clock.uptime());
            let again = clock::after(self.clock.now(), left);
            tokio::select! {
                () = stop.cancelled() => return,
                _ = pass.agent.next_snapshot(&snapshot) => {}
                () = self.clock.sleep_until(again) => {}
            }
            if self.clock.uptime() >= until {
                match self.prove(&pass.token).await {
                    Ok(proof) if proof.proven.identity == pass.identity => until = proof.until,
                    Ok(_) | Err(_) => return stop.cancel(),
                }
            }
        }
    }

    fn slot(&self, token: &AccessToken) -> Arc<Slot> {
        let mut hash = Digest::default();
        hash.copy_from_slice(digest::digest(&digest::SHA256, token.expose().as_bytes()).as_ref());
        let mut verdicts = self.verdicts();
        if verdicts.len() >= VERDICTS && !verdicts.contains_key(&hash) {
            self.make_room(&mut verdicts);
        }
        Arc::clone(verdicts.entry(hash).or_default())
    }

    /// Forgets what is over, and then all that is bad: strangers' tokens do not push pods' own out.
    fn make_room(&self, verdicts: &mut HashMap<Digest, Arc<Slot>>) {
        let now = self.clock.uptime();
        // What is locked is being asked about.
        let is_good = |slot: &Slot| match slot.try_lock().as_deref() {
            Ok(Some(verdict)) => verdict.result.is_ok() && now < verdict.until,
            Ok(None) => false,
            Err(_) => true,
        };
        verdicts.retain(|_, slot| is_good(slot));
        if verdicts.len() >= VERDICTS {
            verdicts.clear();
        }
    }

    fn verdicts(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Slot>>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verdict {
    fn proof(&self) -> Result<Proof, ReviewError> {
        let proven = Arc::clone(self.result.as_ref().map_err(Clone::clone)?);
        Ok(Proof {
            proven,
            until: self.until,
        })
    }
}

#[cfg(test)]
mod tests;
