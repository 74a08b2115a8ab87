//! What `/metrics` says, made no oftener than it changes anything for who reads it.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::{
    budget::{Pace, table::METRICS},
    clock::Uptime,
};

/// The figures as they were made last. Making them looks at every agent; sending them once more costs next to nothing.
#[derive(Default)]
pub(crate) struct Figures(Mutex<Made>);

#[derive(Default)]
struct Made {
    pace: Pace,
    last: Bytes,
}

impl Figures {
    /// What `make` says, or what it said a moment ago where it was asked too often.
    ///
    /// # Errors
    /// What `make` returns.
    pub(crate) fn at<E>(&self, now: Uptime, make: impl FnOnce() -> Result<String, E>) -> Result<Bytes, E> {
        // Nobody else makes them meanwhile.
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if made.pace.count(METRICS, now).is_ok() || made.last.is_empty() {
            made.last = make()?.into();
        }
        Ok(made.last.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_scrapes_costs_a_few_and_the_next_moment_has_news() {
        let figures = Figures::default();
        let mut times = 0;
        let mut scrape = |now| {
            let made = figures.at(now, || {
                times += 1;
                Ok::<_, ()>(times.to_string())
            });
            made.unwrap()
        };
        let start = Uptime::START;
        let last = (0..10_000).map(|_| scrape(start)).last().unwrap();
        assert_eq!(last, METRICS.at_once.to_string());
        let later = scrape(start.after(METRICS.every));
        assert_eq!(later, (METRICS.at_once + 1).to_string());
    }
}
