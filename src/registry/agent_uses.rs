//! What the audit trail tells of one agent already.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use crate::{
    clock::Uptime,
    registry::{
        problem::{Problem, ProblemCause, ProblemCode},
        snapshot::IssuedToken,
    },
};

/// Tokens and refusals of one agent that are remembered to have their line: more than an agent can have at a
/// time, so that whoever asks for them in turn does not fill the trail.
const MOST_TOLD: usize = 128;

/// What has its line.
#[derive(PartialEq)]
enum Told {
    /// A token, by its address and when it was obtained.
    Token(u64),
    /// A refusal while the agent's snapshot had this revision.
    Refusal(u64, ProblemCode, ProblemCause),
}

/// What the trail tells of one agent already.
#[derive(Default)]
pub(crate) struct Audited {
    /// Tokens handed out since the last line.
    pub(crate) uses: AtomicU64,
    /// The uptime when one was handed out last, in microseconds; 0 before the first.
    last_use: AtomicI64,
    /// The token that was handed out last.
    last: AtomicU64,
    /// Tokens and refusals that have their line.
    told: Mutex<VecDeque<Told>>,
}

impl Audited {
    /// When the agent was handed a token last, since the daemon started.
    pub(crate) fn last_use(&self) -> Option<Uptime> {
        let micros = self.last_use.load(Ordering::Relaxed);
        (micros != 0).then(|| Uptime::from_micros(micros))
    }

    /// The agent is handed a token.
    pub(crate) fn note_use(&self, now: Uptime) {
        self.last_use.store(now.as_micros(), Ordering::Relaxed);
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
        if self.last.swap(token, Ordering::Relaxed) == token || !self.tell(Told::Token(token)) {
            return None;
        }
        self.uses.store(0, Ordering::Relaxed);
        Some(before)
    }

    /// True when a refusal is the first of its kind since the agent's snapshot changed.
    pub(crate) fn denied(&self, revision: u64, problem: &Problem) -> bool {
        self.tell(Told::Refusal(revision, problem.code, problem.cause.clone()))
    }

    /// True when `what` has no line yet; from now on it has.
    fn tell(&self, what: Told) -> bool {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        cause::UnusableAnswer,
        provider::ProviderError,
        registry::{agent_state::AgentState, renewal_fault::RenewalFault},
    };

    fn problem(code: ProblemCode, cause: ProblemCause, message: &str) -> Problem {
        Problem::new(code, cause, message.to_owned())
    }

    #[test]
    fn a_failure_is_the_same_however_long_the_provider_wants_to_be_left_alone() {
        let audited = Audited::default();
        let denied = |answer, seconds| {
            let error = ProviderError {
                retry_after: Some(Duration::from_secs(seconds)),
                ..ProviderError::unusable(answer)
            };
            let cause = ProblemCause::Renewal(Box::new(RenewalFault::Provider(error.into())));
            let code = ProblemCode::State(AgentState::ProviderUnavailable);
            audited.denied(1, &problem(code, cause, ""))
        };
        assert!(denied(UnusableAnswer::KeysCutOff, 1));
        assert!(!denied(UnusableAnswer::KeysCutOff, 2));
        assert!(denied(UnusableAnswer::KeyTooSoon, 2));
    }

    #[test]
    fn a_refusal_is_another_one_by_what_it_is_and_not_by_its_words() {
        let audited = Audited::default();
        let unavailable = ProblemCode::State(AgentState::ProviderUnavailable);
        let not_granted = |key: &str, declined| ProblemCause::NotGranted {
            capability: key.parse().unwrap(),
            declined,
        };
        let undeclared = |key: &str| ProblemCause::UndeclaredCapability(key.parse().unwrap());
        let renewal = |fault| ProblemCause::Renewal(Box::new(fault));
        let missing = ProblemCode::State(AgentState::PermissionMissing);
        let all = [
            (unavailable, ProblemCause::State),
            (unavailable, ProblemCause::RenewalTooSlow),
            (unavailable, ProblemCause::ChangedMeanwhile),
            (unavailable, renewal(RenewalFault::Ending)),
            (unavailable, renewal(RenewalFault::Interrupted)),
            (missing, ProblemCause::State),
            (missing, not_granted("google.drive", false)),
            (missing, not_granted("google.drive", true)),
            (missing, not_granted("google.docs", true)),
            (ProblemCode::NotDeclared, undeclared("google.drive")),
            (ProblemCode::NotDeclared, undeclared("google.docs")),
            (
                ProblemCode::NotDeclared,
                ProblemCause::UndeclaredProvider("google".parse().unwrap()),
            ),
            (ProblemCode::RateLimited, ProblemCause::Request),
            (ProblemCode::InvalidRequest, ProblemCause::Request),
        ];
        for (code, cause) in &all {
            assert!(audited.denied(1, &problem(*code, cause.clone(), "")), "{cause:?}");
        }
        for (code, cause) in &all {
            assert!(
                !audited.denied(1, &problem(*code, cause.clone(), "in other words")),
                "{cause:?}"
            );
            assert!(audited.denied(2, &problem(*code, cause.clone(), "")), "{cause:?}");
        }
    }
}
