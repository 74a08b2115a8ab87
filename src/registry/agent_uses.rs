//! What the audit trail tells of one agent already.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use jiff::Timestamp;

use crate::registry::{
    problem::{Problem, ProblemCode},
    snapshot::IssuedToken,
};

/// Tokens and refusals of one agent that are remembered to have their line: more than an agent can have at a
/// time, so that whoever asks for them in turn does not fill the trail.
const MOST_TOLD: usize = 128;

/// What the trail tells of one agent already.
#[derive(Default)]
pub(crate) struct Audited {
    /// Tokens handed out since the last line.
    pub(crate) uses: AtomicU64,
    /// When one was handed out last, in seconds; 0 before the first.
    pub(crate) last_use: AtomicI64,
    /// The token that was handed out last.
    last: AtomicU64,
    /// Tokens and refusals that have their line.
    told: Mutex<VecDeque<u64>>,
}

impl Audited {
    /// When the agent was handed a token last, since the daemon started.
    pub(crate) fn last_use(&self) -> Option<Timestamp> {
        let seconds = self.last_use.load(Ordering::Relaxed);
        Timestamp::from_second(seconds).ok().filter(|_| seconds != 0)
    }

    /// Counts a use. When it is the first of this token: how many uses there were since the line before.
    pub(crate) fn used(&self, token: &IssuedToken) -> Option<u64> {
        let before = self.uses.fetch_add(1, Ordering::Relaxed);
        // The address alone may be that of an earlier token that is gone.
        let address = std::ptr::from_ref(token) as usize as u64;
        let obtained = token.issued_at.since_start();
        let obtained =
            (obtained.as_secs().cast_unsigned() << 20) ^ u64::from(obtained.subsec_micros().unsigned_abs());
        let token = address ^ obtained.rotate_left(20);
        if self.last.swap(token, Ordering::Relaxed) == token || !self.tell(token) {
            return None;
        }
        self.uses.store(0, Ordering::Relaxed);
        Some(before)
    }

    /// True when a refusal is the first of its kind in the agent's present situation.
    pub(crate) fn denied(&self, revision: u64, problem: &Problem) -> bool {
        let mut kind = DefaultHasher::new();
        (revision, problem.code).hash(&mut kind);
        // The other messages repeat what the caller made up, and would make each call a kind of its own.
        if matches!(problem.code, ProblemCode::State(_) | ProblemCode::NotDeclared) {
            problem.message.hash(&mut kind);
        }
        self.tell(kind.finish())
    }

    /// True when `what` has no line yet; from now on it has.
    fn tell(&self, what: u64) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.contains(&what) {
            return false;
        }
        if told.len() == MOST_TOLD {
            told.pop_front();
        }
        told.push_back(what);
        true
    }
}
