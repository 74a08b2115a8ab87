//! Tokens that an agent asked for in place of refused ones.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use crate::{
    budget::{Pace, table::AGENT_REFRESHES},
    clock::Uptime,
    registry::snapshot::IssuedToken,
};

/// What one agent has asked for in place of refused tokens.
#[derive(Default)]
pub(crate) struct Refreshes(Mutex<Asked>);

#[derive(Default)]
struct Asked {
    pace: Pace,
    /// The token that answered last.
    answer: Weak<IssuedToken>,
}

impl Refreshes {
    fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more at `now`.
    ///
    /// # Errors
    /// How long to wait, where that is one too many.
    pub(crate) fn count(&self, now: Uptime) -> Result<(), Duration> {
        self.asked().pace.count(AGENT_REFRESHES, now)
    }

    /// Remembers what the agent was answered with.
    pub(crate) fn answered(&self, token: &Arc<IssuedToken>) {
        self.asked().answer = Arc::downgrade(token);
    }

    /// True when the agent was answered with this token: it is this one that was refused.
    pub(crate) fn has_got(&self, token: &Arc<IssuedToken>) -> bool {
        std::ptr::eq(self.asked().answer.as_ptr(), Arc::as_ptr(token))
    }
}
