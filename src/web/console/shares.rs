//! How much of the console one person may use at once.

use crate::{
    budget::{
        Budget, Exhausted, Privileged, Share,
        table::{CONSOLE_REQUESTS, CONSOLE_STREAMS, CONSOLE_STREAMS_PER_SESSION},
    },
    session::{Principal, Session, SessionId, Viewer},
};

/// What all who are signed in have under way.
pub(super) struct Shares {
    requests: Budget<Principal>,
    streams: Budget<Principal>,
    streams_of_sessions: Budget<SessionId>,
}

/// A page that listens; given back when dropped.
pub(super) struct StreamShare {
    _shares: (Share<Principal>, Share<SessionId>),
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            requests: Budget::new(CONSOLE_REQUESTS),
            streams: Budget::new(CONSOLE_STREAMS),
            streams_of_sessions: Budget::new(CONSOLE_STREAMS_PER_SESSION),
        }
    }
}

impl Shares {
    /// A request, for as long as what this returns is held.
    ///
    /// # Errors
    /// Why there is no room for it.
    pub(super) fn request(&self, session: &Session) -> Result<Share<Principal>, Exhausted> {
        take(&self.requests, session)
    }

    /// A page that listens to events.
    ///
    /// # Errors
    /// Why there is no room for it.
    pub(super) fn stream(&self, session: &Session) -> Result<StreamShare, Exhausted> {
        Ok(StreamShare {
            _shares: (
                take(&self.streams, session)?,
                self.streams_of_sessions.take(&session.id)?,
            ),
        })
    }
}

/// No number of others keeps an operator out.
fn take(budget: &Budget<Principal>, session: &Session) -> Result<Share<Principal>, Exhausted> {
    let admission = &session.admission;
    budget.take(&admission.principal()).or_else(|full| {
        if full == Exhausted::Surface && admission.viewer == Viewer::Operator {
            budget.take_privileged(Privileged::Operator, 1)
        } else {
            Err(full)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        clock::SystemClock,
        entropy::SystemEntropy,
        session::{Admission, SessionLimits, Sessions},
        telemetry::audit::Actor,
    };

    fn sessions() -> Sessions {
        let day = Duration::from_secs(86400);
        let limits = SessionLimits {
            idle: day,
            whole: day,
        };
        Sessions::new(Arc::new(SystemClock), Arc::new(SystemEntropy), limits)
    }

    fn session(sessions: &Sessions, owner: Option<&str>) -> Session {
        let admission = Admission {
            viewer: owner.map_or(Viewer::Operator, |owner| Viewer::Owner(owner.parse().unwrap())),
            actor: Actor::Person(owner.unwrap_or("ops").to_owned()),
            return_url: None,
        };
        sessions.admit(Arc::new(admission)).1
    }

    fn streams(shares: &Shares, session: &Session) -> Vec<StreamShare> {
        std::iter::from_fn(|| shares.stream(session).ok()).collect()
    }

    #[test]
    fn a_session_has_its_share_of_streams_and_a_person_one_over_all_sessions() {
        let (sessions, shares) = (sessions(), Shares::default());
        let alices: Vec<_> = (0..8).map(|_| session(&sessions, Some("alice"))).collect();
        let mut open = streams(&shares, &alices[0]);
        assert_eq!(open.len(), CONSOLE_STREAMS_PER_SESSION.each);
        open.extend(alices.iter().flat_map(|session| streams(&shares, session)));
        assert_eq!(open.len(), CONSOLE_STREAMS.each);
        assert!(shares.stream(&session(&sessions, Some("bob"))).is_ok());
        open.pop();
        assert!(shares.stream(&alices[7]).is_ok(), "what ended makes room");
    }

    #[test]
    fn others_keep_no_operator_out() {
        let (sessions, shares) = (sessions(), Shares::default());
        let many: Vec<_> = (0..64)
            .map(|number| session(&sessions, Some(&format!("owner-{number}"))))
            .flat_map(|session| streams(&shares, &session))
            .collect();
        assert!(shares.stream(&session(&sessions, Some("late"))).is_err());
        assert!(shares.stream(&session(&sessions, None)).is_ok());
        drop(many);
    }

    #[test]
    fn a_person_has_so_many_requests_under_way() {
        let (sessions, shares) = (sessions(), Shares::default());
        let first = session(&sessions, Some("alice"));
        let under_way: Vec<_> = std::iter::from_fn(|| shares.request(&first).ok()).collect();
        assert_eq!(under_way.len(), CONSOLE_REQUESTS.each);
        // A program that keeps no cookie has another session each time.
        assert!(shares.request(&session(&sessions, Some("alice"))).is_err());
        assert!(shares.request(&session(&sessions, Some("bob"))).is_ok());
    }
}
