//! What keeps one agent from costing the provider and the others too much.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use super::{Broker, IssuedToken, Problem, ProblemCode, TokenKey, ask::problem};
use crate::{
    budget::{Exhausted, Pace, Share, table::AGENT_REFRESHES},
    clock::Uptime,
    id::AgentName,
};

/// A token is not renewed on demand more often than this.
pub(super) const LEAST_AGE: Duration = Duration::from_secs(10);

impl Broker {
    /// Each narrowed token costs a request and a place in memory, and an agent may ask for any selection of
    /// what it declared: so there is an end to how many of them an agent has at a time.
    pub(super) fn make_room(&self, agent: &AgentName, key: &TokenKey) -> Result<(), Problem> {
        let mut world = self.world();
        if world.slots.contains_key(key) {
            return Ok(());
        }
        let place = match self.narrowed.take(agent) {
            Ok(place) => place,
            Err(full) => {
                let own = world.slots_of(&key.integration).filter(|(_, slot)| {
                    let holder = slot.place.as_ref().and_then(Share::holder);
                    holder == Some(agent)
                });
                let first_end = own
                    .filter_map(|(_, slot)| slot.token.as_ref())
                    .map(|token| token.expires_at)
                    .min();
                return Err(Problem {
                    retry_after: first_end.and_then(|end| self.uptime().until(end)),
                    ..problem(ProblemCode::RateLimited, no_room(full))
                });
            }
        };
        // Its place is taken from here on; the renewal gives it up again if nothing comes of it.
        world.slots.make(key).place = Some(place);
        Ok(())
    }
}

fn no_room(full: Exhausted) -> String {
    let whose = match full {
        Exhausted::Principal => "This agent has as many narrowed tokens as it may",
        Exhausted::Surface => "There are as many narrowed tokens as there may be",
    };
    format!("{whose}: ask for a selection of capabilities that was asked for before.")
}

/// The provider does not make tokens that live as long as was asked for.
pub(super) fn too_much(token: &IssuedToken, min_ttl: Duration) -> Result<(), Problem> {
    if min_ttl <= token.lifetime() {
        return Ok(());
    }
    Err(cannot_be_met(token, min_ttl))
}

pub(super) fn cannot_be_met(token: &IssuedToken, min_ttl: Duration) -> Problem {
    let message = format!(
        "min_ttl={} cannot be met: the provider's tokens live {} s, counted from before they were asked for. Ask \
         for less.",
        min_ttl.as_secs(),
        token.lifetime().as_secs()
    );
    problem(ProblemCode::InvalidRequest, message)
}

/// A token that is new already is not renewed again for the sake of a few seconds.
pub(super) fn too_soon(token: &IssuedToken, min_ttl: Duration, now: Uptime) -> Result<(), Problem> {
    let age = now.since(token.issued_at);
    if !token.is_fresh(now) || age >= LEAST_AGE {
        return Ok(());
    }
    let wait = LEAST_AGE.saturating_sub(age);
    Err(Problem {
        code: ProblemCode::RateLimited,
        message: format!(
            "The token is {} s old and was renewed for min_ttl already; min_ttl={} would renew it on every call.",
            age.as_secs(),
            min_ttl.as_secs()
        ),
        action_url: None,
        retry_after: Some(wait),
    })
}

/// What one agent has asked for in place of refused tokens.
#[derive(Default)]
pub(super) struct Refreshes(Mutex<Asked>);

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
    pub(super) fn count(&self, now: Uptime) -> Result<(), Duration> {
        self.asked().pace.count(AGENT_REFRESHES, now)
    }

    /// Remembers what the agent was answered with.
    pub(super) fn answered(&self, token: &Arc<IssuedToken>) {
        self.asked().answer = Arc::downgrade(token);
    }

    /// True when the agent was answered with this token: it is this one that was refused.
    pub(super) fn has_got(&self, token: &Arc<IssuedToken>) -> bool {
        std::ptr::eq(self.asked().answer.as_ptr(), Arc::as_ptr(token))
    }
}
