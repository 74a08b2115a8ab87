//! Places for narrowed tokens.

use super::issuer::Issuer;
use crate::{
    budget::{Exhausted, Share},
    id::AgentName,
    registry::{
        keys::TokenKey,
        problem::{Problem, ProblemCause, ProblemCode},
    },
};

impl Issuer {
    /// Each narrowed token costs a request and a place in memory, and an agent may ask for any selection of
    /// what it declared: so there is an end to how many of them an agent has at a time.
    pub(in crate::broker) fn make_room(&self, agent: &AgentName, key: &TokenKey) -> Result<(), Problem> {
        let mut registry = self.registry.lock();
        if registry.tokens.contains_key(key) {
            return Ok(());
        }
        let place = match self.narrowed.take(agent) {
            Ok(place) => place,
            Err(full) => {
                let own = registry.entries_of(&key.integration).filter(|(_, token_entry)| {
                    let holder = token_entry.place.as_ref().and_then(Share::holder);
                    holder == Some(agent)
                });
                let first_end = own
                    .filter_map(|(_, token_entry)| token_entry.token.as_ref())
                    .map(|token| token.expires_at)
                    .min();
                return Err(Problem {
                    retry_after: first_end.and_then(|end| self.clock.uptime().until(end)),
                    ..Problem::new(ProblemCode::RateLimited, ProblemCause::Request, no_room(full))
                });
            }
        };
        // Its place is taken from here on; the renewal gives it up again if nothing comes of it.
        registry.tokens.make(key).place = Some(place);
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
