//! Refusals counted for the log: a line a minute at most, and none is left out of the count.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{runtime::Handle, time::Instant};

/// The time between two lines.
const MINUTE: Duration = Duration::from_secs(60);

/// Counts what one surface refuses for one reason, and logs it: the first at once, what follows as a number, once a
/// minute at most.
#[derive(Clone)]
pub struct Refusals(Arc<Counter>);

struct Counter {
    what: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Refused since the last line.
    count: u64,
    /// Who was refused last.
    last: String,
    /// When the last line was written.
    told: Option<Instant>,
    /// Whether a task waits to write the next one.
    scheduled: bool,
}

impl Refusals {
    /// `what` is the line's sentence: what is refused, and why.
    pub fn new(what: impl Into<String>) -> Self {
        Self(Arc::new(Counter {
            what: what.into(),
            state: Mutex::default(),
        }))
    }

    /// Counts one; `last` says whom it concerned.
    pub fn count(&self, last: impl Display) {
        let mut state = self.0.state();
        state.count += 1;
        let now = Instant::now();
        let due = state.told.map(|told| told + MINUTE);
        if due.is_none_or(|due| due <= now) {
            state.last = last.to_string();
            self.0.tell(&mut state, now);
        } else if let (false, Some(due), Ok(runtime)) = (state.scheduled, due, Handle::try_current()) {
            state.scheduled = true;
            state.last = last.to_string();
            let counter = Arc::clone(&self.0);
            runtime.spawn(counter.tell_later(due));
        }
    }
}

impl Counter {
    /// Tells what was counted, when a minute has passed since the last line.
    async fn tell_later(self: Arc<Self>, mut due: Instant) {
        loop {
            tokio::time::sleep_until(due).await;
            let mut state = self.state();
            // Somebody else may have told it meanwhile.
            match state.told.map(|told| told + MINUTE) {
                Some(later) if later > due && state.count > 0 => due = later,
                _ => {
                    state.scheduled = false;
                    if state.count > 0 {
                        self.tell(&mut state, Instant::now());
                    }
                    return;
                }
            }
        }
    }

    fn tell(&self, state: &mut State, now: Instant) {
        let count = std::mem::take(&mut state.count);
        state.told = Some(now);
        tracing::warn!(count, last = state.last, "{}", self.what);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::captured::Captured;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_a_line_a_minute_and_every_refusal_is_counted() {
        let lines = Captured::start();
        let refusals = Refusals::new("the desk is full");
        for who in 0..3000 {
            refusals.count(who);
        }
        let first = lines.take();
        assert!(
            first.len() == 1 && first[0].contains("the desk is full") && first[0].contains("count=1 "),
            "{first:?}"
        );
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert!(lines.take().is_empty());
        tokio::time::sleep(Duration::from_secs(2)).await;
        let second = lines.take();
        assert!(
            second.len() == 1 && second[0].contains("count=2999 "),
            "{second:?}"
        );
        // Nothing more was refused, and nothing more is told.
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(lines.take().is_empty());
        refusals.count("somebody");
        assert!(lines.take()[0].contains("somebody"));
    }
}
