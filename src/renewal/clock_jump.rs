//! What follows when the wall clock is set.
//!
//! Nothing ends by it: lives and pauses are spans of uptime. What was written by the old time is written anew. And since a
//! virtual machine that was paused counts no uptime, as much time as the clock jumped may have passed unseen: so much
//! earlier are tokens renewed. That it jumped while the daemon was down is told by the tokens that were stored before.

use std::time::Duration;

use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Moment, Uptime},
    registry::{keys::TokenKey, state::Registry, time::spread},
    renewal::{recovery::Recovery, schedule::TokenState},
};

/// Less than this is no jump.
const LEAST: SignedDuration = SignedDuration::from_secs(1);
/// A clock that jumps again and again brings renewals forward once in so long.
const PAUSE: Duration = Duration::from_secs(300);

impl Recovery {
    /// Watches the wall clock, until `shutdown`. `last_moment` is the last that the daemon before this one left, in the same run
    /// of the machine.
    pub(crate) async fn watch_clock(&self, last_moment: Option<Moment>, shutdown: CancellationToken) {
        let mut known = last_moment.unwrap_or_else(|| self.clock.moment());
        let mut earliest = known.uptime;
        loop {
            // Before the look, so that no setting falls in between.
            let set = self.clock.until_set();
            let now = self.clock.moment();
            let by = now.ahead_of(known);
            if by.abs() >= LEAST {
                self.clock_was_set(now, by, earliest);
                earliest = now.uptime.after(PAUSE);
            }
            known = now;
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = set => {}
            }
        }
    }

    fn clock_was_set(&self, now: Moment, by: SignedDuration, earliest: Uptime) {
        tracing::warn!(
            by = %by,
            "the wall clock was set: no token ends by that, but they are renewed earlier, and files say the new time"
        );
        let registry = self.registry.lock();
        let users = registry
            .agents
            .values()
            .filter(|entry| entry.keys.iter().next().is_some());
        for entry in users.clone() {
            self.changes.changed(&entry.handle);
        }
        let keys: Vec<&TokenKey> = users.flat_map(|entry| entry.keys.iter()).collect();
        let spread = spread(keys.len());
        for key in keys {
            if let TokenState::Due(due) = self.schedule.state(key)
                && is_at_hand(&registry, key)
            {
                let least = now
                    .uptime
                    .max(earliest)
                    .after(self.entropy.between(Duration::ZERO, spread));
                self.schedule
                    .renew_at(key, due.min(due.before(by.unsigned_abs()).max(least)));
            }
        }
    }
}

/// True for a token that is at hand; one that is not is due as soon as it can be.
fn is_at_hand(registry: &Registry, key: &TokenKey) -> bool {
    let token_entry = registry.tokens.get(key);
    token_entry.is_some_and(|token_entry| token_entry.token.is_some())
}
