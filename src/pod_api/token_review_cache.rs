//! Whose token a pod sends, asked of the Kubernetes API and remembered for a moment.
//!
//! Pods that were let in before do not wait behind strangers: what is known of a token is answered at once, and the
//! questions about tokens that were let in go a way of their own. A stranger's question has to have a share of what there
//! is for strangers, before anything is waited for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    budget::{
        Budget, Peer, Share,
        table::{REMOTE_NEW_TOKENS, REMOTE_QUESTION_BYTES, REMOTE_QUESTIONS},
    },
    clock::{SharedClock, Uptime},
    kubernetes::{Proven, ReviewError, Reviewer},
    pod_api::{
        caller::{Asking, Caller},
        pass::Pass,
    },
    secret::AccessToken,
};

/// How long a verdict holds: a pod whose token the API accepts no longer has ours for so long at most.
const GOOD: Duration = Duration::from_secs(60);
/// How long a refusal holds: a client in a loop costs no question each time.
const BAD: Duration = Duration::from_secs(10);
/// How long nobody is asked again after there was no answer.
const NO_ANSWER: Duration = Duration::from_secs(1);
/// How long a token that was let in is known after that, where there are too many: so long does a projected one live.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// Tokens that are known at most.
const VERDICTS: usize = 8192;
/// Questions under way at most, about strangers' tokens and about pods' own.
const QUESTIONS: usize = 16;

/// A token's SHA-256.
type Digest = [u8; 32];

/// The verdicts. No token is kept, only hashes of them.
pub(super) struct TokenReviewCache {
    reviewer: Reviewer,
    clock: SharedClock,
    verdicts: Mutex<HashMap<Digest, Entry>>,
    strangers: Lane<Peer>,
    bytes: Budget<Peer>,
    pods: Lane<Arc<Proven>>,
}

/// A way to the Kubernetes API.
struct Lane<K: Eq + std::hash::Hash> {
    /// Who may wait for it.
    waiting: Budget<K>,
    under_way: Semaphore,
}

impl<K: Eq + std::hash::Hash + Clone> Lane<K> {
    fn new(limits: crate::budget::Limits) -> Self {
        Self {
            waiting: Budget::new(limits),
            under_way: Semaphore::new(QUESTIONS),
        }
    }
}

#[derive(Default)]
struct Entry {
    slot: Arc<Slot>,
    /// A request with this token was let in.
    let_in: bool,
}

/// One token's verdict; who asks about it first asks for all.
type Slot = tokio::sync::Mutex<Option<Verdict>>;

#[derive(Clone)]
struct Verdict {
    result: Result<Arc<Proven>, ReviewError>,
    /// Until when it holds.
    until: Uptime,
}

/// A pod that is proven.
pub(super) struct Proof {
    pub(super) proven: Arc<Proven>,
    /// When it has to be proven again.
    pub(super) until: Uptime,
}

/// Whose token it is, known or still to be asked.
pub(super) struct Question {
    slot: Arc<Slot>,
    known: Option<Verdict>,
    lane: Way,
}

/// Which way a question goes, and what it holds meanwhile.
enum Way {
    /// That of tokens that were let in, and of the few new ones of a pod.
    Pods { _share: Option<Share<Arc<Proven>>> },
    Strangers {
        _shares: (Share<Peer>, Share<Peer>),
        _asking: Asking,
    },
}

impl TokenReviewCache {
    pub(super) fn new(reviewer: Reviewer, clock: SharedClock) -> Self {
        Self {
            reviewer,
            clock,
            verdicts: Mutex::default(),
            strangers: Lane::new(REMOTE_QUESTIONS),
            bytes: Budget::new(REMOTE_QUESTION_BYTES),
            pods: Lane::new(REMOTE_NEW_TOKENS),
        }
    }

    /// Asks whose token it is, for a request whose head has so many bytes; nothing when there are too many questions
    /// of strangers.
    pub(super) fn ask(&self, token: &AccessToken, caller: &Arc<Caller>, bytes: usize) -> Option<Question> {
        let hash = digest_of(token);
        let (slot, let_in) = self.slot(hash);
        let known = match slot.try_lock().as_deref() {
            Ok(Some(verdict)) if self.clock.uptime() < verdict.until => Some(verdict.clone()),
            _ => None,
        };
        let lane = if let_in || known.is_some() {
            Way::Pods { _share: None }
        } else if let Some(Ok(share)) = caller.pod().map(|pod| self.pods.waiting.take(&pod)) {
            Way::Pods { _share: Some(share) }
        } else {
            let from = caller.from();
            Way::Strangers {
                _shares: (
                    self.strangers.waiting.take(&from).ok()?,
                    self.bytes.take_many(&from, bytes).ok()?,
                ),
                _asking: caller.ask()?,
            }
        };
        Some(Question { slot, known, lane })
    }

    /// Whose token it is.
    pub(super) async fn prove(&self, token: &AccessToken, question: Question) -> Result<Proof, ReviewError> {
        let Question { slot, known, lane } = question;
        if let Some(known) = known {
            return known.proof();
        }
        let mut verdict = slot.lock().await;
        if let Some(known) = verdict.as_ref().filter(|known| self.clock.uptime() < known.until) {
            return known.proof();
        }
        let under_way = match &lane {
            Way::Pods { .. } => &self.pods.under_way,
            Way::Strangers { .. } => &self.strangers.under_way,
        };
        let permit = under_way.acquire().await;
        let result = self.reviewer.review(token).await.map(Arc::new);
        drop((permit, lane));
        let holds = match &result {
            Ok(_) => GOOD,
            Err(ReviewError::Refused(_)) => BAD,
            Err(ReviewError::Unavailable(_)) => NO_ANSWER,
        };
        let until = self.clock.uptime().after(holds);
        verdict.insert(Verdict { result, until }).proof()
    }

    /// A request with this token was let in: it goes the way of pods from now on.
    pub(super) fn note_let_in(&self, token: &AccessToken) {
        if let Some(entry) = self.verdicts().get_mut(&digest_of(token)) {
            entry.let_in = true;
        }
    }

    /// Whether the token of an answer that is under way still proves the same.
    async fn prove_again(&self, token: &AccessToken) -> Result<Proof, ReviewError> {
        let (slot, _) = self.slot(digest_of(token));
        let lane = Way::Pods { _share: None };
        let question = Question {
            slot,
            known: None,
            lane,
        };
        self.prove(token, question).await
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
            tokio::select! {
                () = stop.cancelled() => return,
                _ = pass.agent.next_snapshot(&snapshot) => {}
                () = self.clock.sleep_until(until) => {}
            }
            if self.clock.uptime() >= until {
                match self.prove_again(&pass.token).await {
                    Ok(proof) if proof.proven.identity == pass.pod.identity => until = proof.until,
                    Ok(_) | Err(_) => return stop.cancel(),
                }
            }
        }
    }

    /// What is known of a token, and whether a request with it was let in before.
    fn slot(&self, hash: Digest) -> (Arc<Slot>, bool) {
        let mut verdicts = self.verdicts();
        if let Some(entry) = verdicts.get(&hash) {
            return (Arc::clone(&entry.slot), entry.let_in);
        }
        if verdicts.len() >= VERDICTS {
            self.make_room(&mut verdicts);
        }
        if verdicts.len() >= VERDICTS {
            // Asked about each time, until there is room.
            return Default::default();
        }
        let slot = Arc::clone(&verdicts.entry(hash).or_default().slot);
        (slot, false)
    }

    /// Forgets strangers' tokens, and those that pods have not used for long: strangers do not push pods' own out.
    fn make_room(&self, verdicts: &mut HashMap<Digest, Entry>) {
        let now = self.clock.uptime();
        // What is locked is being asked about.
        let stays = |entry: &Entry| match entry.slot.try_lock().as_deref() {
            Ok(Some(verdict)) => entry.let_in && now < verdict.until.after(KEPT),
            Ok(None) => false,
            Err(_) => true,
        };
        verdicts.retain(|_, entry| stays(entry));
    }

    fn verdicts(&self) -> MutexGuard<'_, HashMap<Digest, Entry>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest_of(token: &AccessToken) -> Digest {
    let mut hash = Digest::default();
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.expose().as_bytes()).as_ref());
    hash
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
