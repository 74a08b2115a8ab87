//! Consents under way, and those that ended a moment ago.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    connect::{ConnectError, Connected},
    keep::Claim,
};
use crate::{
    clock,
    secret::{PkceVerifier, StateToken},
    session::SessionId,
};

/// Consents under way at most: each was asked for by the operator, so more than this is a mistake.
const MOST_PENDING: usize = 10_000;
/// How long the end of a consent can be asked for.
const KEPT: Duration = Duration::from_secs(600);

/// A consent under way.
pub(super) struct Pending {
    pub(super) connect_id: String,
    pub(super) claim: Claim,
    pub(super) return_url: Option<String>,
    /// The session of the console that it was begun in: it ends in no other browser.
    pub(super) session: Option<SessionId>,
    pub(super) nonce: String,
    pub(super) verifier: PkceVerifier,
    pub(super) expires_at: Timestamp,
}

pub(super) type Ending = Option<Result<Connected, ConnectError>>;

struct Watched {
    ending: watch::Sender<Ending>,
    expires_at: Timestamp,
    /// The redirect has come: the end comes too, well or badly.
    answered: bool,
}

/// Consents under way and those that ended a moment ago.
#[derive(Default)]
pub(super) struct Consents {
    table: std::sync::Mutex<Table>,
    /// One account is kept at a time, so that two consents of one owner cannot both be the first.
    pub(super) keeping: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Table {
    /// By digest of the state, so that looking one up takes the same time whatever it resembles.
    pending: HashMap<[u8; 32], Pending>,
    watched: HashMap<String, Watched>,
}

fn digest(state: &StateToken) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, state.expose().as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

impl Consents {
    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn begin(
        &self,
        now: Timestamp,
        state: &StateToken,
        pending: Pending,
    ) -> Result<(), ConnectError> {
        let mut table = self.lock();
        table.pending.retain(|_, pending| pending.expires_at > now);
        table
            .watched
            .retain(|_, watched| clock::after(watched.expires_at, KEPT) > now);
        if table.pending.len() >= MOST_PENDING || table.watched.len() >= 2 * MOST_PENDING {
            return Err(ConnectError::TooMany);
        }
        let watched = Watched {
            ending: watch::Sender::new(None),
            expires_at: pending.expires_at,
            answered: false,
        };
        table.watched.insert(pending.connect_id.clone(), watched);
        table.pending.insert(digest(state), pending);
        Ok(())
    }

    /// Takes the consent out: a state is good once. One that was begun in a session stays where another asks for it.
    pub(super) fn take(
        &self,
        now: Timestamp,
        state: &StateToken,
        session: Option<SessionId>,
    ) -> Result<Pending, ConnectError> {
        let (mut table, state) = (self.lock(), digest(state));
        let begun_in = table.pending.get(&state).and_then(|pending| pending.session);
        if begun_in.is_some() && begun_in != session {
            return Err(ConnectError::OtherSession);
        }
        let pending = table
            .pending
            .remove(&state)
            .filter(|pending| pending.expires_at > now)
            .ok_or(ConnectError::UnknownState)?;
        if let Some(watched) = table.watched.get_mut(&pending.connect_id) {
            watched.answered = true;
        }
        Ok(pending)
    }

    pub(super) fn end(&self, connect_id: &str, ending: Result<Connected, ConnectError>) {
        if let Some(watched) = self.lock().watched.get(connect_id) {
            watched.ending.send_replace(Some(ending));
        }
    }

    pub(super) fn watch(&self, connect_id: &str) -> Option<(watch::Receiver<Ending>, Timestamp)> {
        let table = self.lock();
        let watched = table.watched.get(connect_id)?;
        Some((watched.ending.subscribe(), watched.expires_at))
    }

    pub(super) fn is_answered(&self, connect_id: &str) -> bool {
        self.lock()
            .watched
            .get(connect_id)
            .is_some_and(|watched| watched.answered)
    }
}
