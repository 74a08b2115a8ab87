//! Every agent's directory is looked at, slowly and always: what is on disk may vanish without a word.
//!
//! A round takes the same time however many agents there are, in steps of which none costs much.

use std::{sync::Arc, time::Duration};

use super::agent::AgentReconciler;
use crate::clock::Uptime;

/// How long it takes to look at all of them.
pub(super) const ROUND: Duration = Duration::from_secs(10);
/// How many are looked at in one step.
const AT_ONCE: usize = 128;

/// Whose turn it is to be looked at.
pub(super) struct Rounds {
    rest: Vec<Arc<AgentReconciler>>,
    step: Duration,
    next: Uptime,
    /// The folder is being looked at, which comes before what is in it.
    is_waiting: bool,
}

impl Rounds {
    pub(super) fn new(now: Uptime) -> Self {
        Self {
            rest: Vec::new(),
            step: ROUND,
            next: now.after(ROUND),
            is_waiting: false,
        }
    }

    /// When the next step is due; `None` while one is under way.
    pub(super) fn due(&self) -> Option<Uptime> {
        (!self.is_waiting).then_some(self.next)
    }

    /// A step begins.
    pub(super) fn begin(&mut self) {
        self.is_waiting = true;
    }

    /// There is no folder to look into; it is tried again in a while.
    pub(super) fn put_off(&mut self, now: Uptime) {
        self.is_waiting = false;
        self.next = now.after(self.step);
    }

    /// The agents to look at in this step. `all` is asked at the beginning of a round.
    pub(super) fn step(
        &mut self,
        now: Uptime,
        all: impl FnOnce() -> Vec<Arc<AgentReconciler>>,
    ) -> Vec<Arc<AgentReconciler>> {
        if self.rest.is_empty() {
            self.rest = all();
            let steps = u32::try_from(self.rest.len().div_ceil(AT_ONCE)).unwrap_or(u32::MAX);
            self.step = ROUND / steps.max(1);
        }
        self.put_off(now);
        let first = self.rest.len().saturating_sub(AT_ONCE);
        self.rest.split_off(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, name};

    #[test]
    fn a_round_takes_the_same_time_however_many_there_are() {
        let agents = |count: usize| -> Vec<_> {
            (0..count)
                .map(|n| AgentReconciler::new(name(&format!("a-{n}"))))
                .collect()
        };
        for count in [0, 1, 100, 10_000] {
            let mut now = at("2024-01-15T09:31:00Z").uptime;
            let begun = now;
            let mut rounds = Rounds::new(now);
            let mut seen = 0;
            loop {
                rounds.begin();
                assert_eq!(rounds.due(), None);
                let step = rounds.step(now, || agents(count));
                assert!(step.len() <= AT_ONCE);
                seen += step.len();
                now = rounds.due().unwrap();
                if seen == count {
                    break;
                }
            }
            let took = now.since(begun);
            assert!(
                took <= ROUND && took + Duration::from_millis(1) > ROUND,
                "{count}: {took:?}"
            );
        }
    }
}
