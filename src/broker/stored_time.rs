//! What stored moments say when the daemon starts again.
//!
//! In the same boot a token's life goes on by the uptime, whatever the wall clock shows meanwhile. Across boots there is
//! only the wall clock, which may have lost its battery: it is believed where nothing speaks against it.

use std::time::Duration;

use jiff::SignedDuration;

use crate::{
    clock::{Moment, Uptime},
    registry::time::BrokerClock,
    store::TokenRecord,
};

/// A clock that is kept in step may be a little behind what it was.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// Reads the lives of stored tokens.
pub(super) struct StoredTime<'a> {
    clock: &'a BrokerClock,
    now: Moment,
    /// The wall clock is behind a moment that was stored by it.
    went_back: bool,
}

impl<'a> StoredTime<'a> {
    /// For these, at the present moment.
    pub(super) fn new(clock: &'a BrokerClock, tokens: &[TokenRecord]) -> Self {
        let now = clock.moment();
        let newest = tokens.iter().map(|token| token.issued_at).max();
        Self {
            clock,
            now,
            went_back: newest.is_some_and(|newest| newest.duration_since(now.wall) > TOLERANCE),
        }
    }

    /// When the token was obtained and when it ends; `None` when it has ended, or how long it still lives is anybody's
    /// guess.
    pub(super) fn life(&self, token: &TokenRecord) -> Option<(Uptime, Uptime)> {
        let by_wall = self.now.uptime_at(token.issued_at);
        let issued = match (self.clock.in_this_boot(token), token.issued_in_boot) {
            (Some(issued), _) => Some(issued).filter(|issued| *issued <= self.now.uptime),
            _ if self.went_back => None,
            // It was obtained before the machine was started.
            (None, Some(_)) => Some(by_wall.min(Uptime::START)),
            (None, None) => Some(by_wall),
        }?;
        let life = Duration::try_from(token.expires_at.duration_since(token.issued_at)).ok()?;
        let end = issued.after(life);
        self.now.uptime.until(end).map(|_| (issued, end))
    }
}

/// The last moment of this boot that a token was stored with: what the wall clock showed then.
pub(super) fn last_moment(clock: &BrokerClock, tokens: &[TokenRecord]) -> Option<Moment> {
    let moment = |token: &TokenRecord| {
        Some(Moment {
            uptime: clock.in_this_boot(token)?,
            wall: token.issued_at,
        })
    };
    tokens
        .iter()
        .filter_map(moment)
        .max_by_key(|moment| moment.uptime)
}
