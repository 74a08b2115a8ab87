//! Consents under way, and those that ended a moment ago.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    accounts::{connect_error::ConnectError, connected::Connected, grant_request::GrantRequest},
    budget::{
        Budget, Exhausted, Share,
        table::{CONSENTS, ENDINGS},
    },
    clock::Uptime,
    dpop::ProofKey,
    id::{OwnerId, ProviderId},
    secret::{PkceVerifier, StateToken},
    session::{BrowserId, SessionId, Visit},
};

/// How long the end of a consent can be asked for.
const KEPT: Duration = Duration::from_secs(600);

/// A consent under way.
pub(crate) struct Pending {
    pub(crate) connect_id: String,
    pub(crate) grant_request: GrantRequest,
    pub(crate) return_url: Option<String>,
    /// The session of the console that it was begun in: it ends in no other browser.
    pub(crate) session: Option<SessionId>,
    pub(crate) nonce: String,
    pub(crate) verifier: PkceVerifier,
    /// What the grant is to be bound to.
    pub(crate) proof_key: Option<Arc<ProofKey>>,
    pub(crate) expires_at: Uptime,
    /// Its place, given back when it has ended.
    pub(crate) _place: Share<OwnerId>,
}

pub(crate) type Ending = Option<Result<Connected, ConnectError>>;

struct Watched {
    ending: watch::Sender<Ending>,
    provider: ProviderId,
    expires_at: Uptime,
    /// The redirect has come: the end comes too, well or badly.
    answered: bool,
    place: Share<OwnerId>,
}

impl Watched {
    fn is_kept(&self, now: Uptime) -> bool {
        self.expires_at.after(KEPT) > now
    }
}

/// Whose consent it was whose state was used.
struct Used {
    connect_id: String,
    /// The session that it was begun in.
    session: Option<SessionId>,
    /// The browser that ended it.
    browser: Option<BrowserId>,
}

impl Used {
    /// True for the browser that ended it. Where it was begun in a session, it is that session's alone.
    fn is_of(&self, visit: Option<&Visit<'_>>) -> bool {
        let Some(visit) = visit else {
            return false;
        };
        match self.session {
            Some(session) => visit.session.is_some_and(|open| open.id == session),
            None => self.browser == Some(visit.browser),
        }
    }
}

/// What a state leads to.
pub(crate) enum Found {
    /// A consent that is to be ended now.
    Pending(Box<Pending>),
    /// One that this very browser ended, or is ending.
    Ended(watch::Receiver<Ending>),
}

/// Consents under way and those that ended a moment ago.
pub(crate) struct Consents {
    table: std::sync::Mutex<Table>,
    places: Budget<OwnerId>,
    endings: Budget<OwnerId>,
    /// One account is kept at a time, so that two consents of one owner cannot both be the first.
    pub(crate) keeping: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Table {
    /// By digest of the state, so that looking one up takes the same time whatever it resembles.
    pending: HashMap<[u8; 32], Pending>,
    /// By the same, for as long as the end can be asked for.
    used: HashMap<[u8; 32], Used>,
    watched: HashMap<String, Watched>,
}

impl Table {
    fn forget(&mut self, now: Uptime) {
        self.pending.retain(|_, pending| pending.expires_at > now);
        self.watched.retain(|_, watched| watched.is_kept(now));
        let watched = &self.watched;
        self.used.retain(|_, used| watched.contains_key(&used.connect_id));
    }

    /// The end of a consent whose state was used, for the browser that used it.
    fn ended(
        &self,
        now: Uptime,
        state: &[u8; 32],
        visit: Option<&Visit<'_>>,
    ) -> Result<watch::Receiver<Ending>, ConnectError> {
        let used = self.used.get(state).ok_or(ConnectError::UnknownState)?;
        let watched = self.watched.get(&used.connect_id);
        let watched = watched
            .filter(|watched| watched.is_kept(now))
            .ok_or(ConnectError::UnknownState)?;
        if used.is_of(visit) {
            Ok(watched.ending.subscribe())
        } else {
            Err(ConnectError::OtherBrowser)
        }
    }
}

fn digest(state: &StateToken) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, state.expose().as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

impl Default for Consents {
    fn default() -> Self {
        Self {
            table: std::sync::Mutex::default(),
            places: Budget::new(CONSENTS),
            endings: Budget::new(ENDINGS),
            keeping: tokio::sync::Mutex::default(),
        }
    }
}

impl Consents {
    /// A place for one more consent of this owner.
    ///
    /// # Errors
    /// When too many are under way.
    pub(crate) fn place(&self, now: Uptime, owner: &OwnerId) -> Result<Share<OwnerId>, ConnectError> {
        self.lock().forget(now);
        self.places.take(owner).map_err(|_| ConnectError::TooMany)
    }

    /// A place for its ending. Of an owner's endings, the one that would be forgotten first makes room.
    fn ending(&self, table: &mut Table, owner: &OwnerId) -> Result<Share<OwnerId>, ConnectError> {
        loop {
            let full = match self.endings.take(owner) {
                Ok(share) => return Ok(share),
                Err(full) => full,
            };
            let is_own = |watched: &Watched| watched.answered && watched.place.holder() == Some(owner);
            let own = table.watched.iter().filter(|(_, watched)| is_own(watched));
            let first = own
                .min_by_key(|(_, watched)| watched.expires_at)
                .map(|(id, _)| id.clone());
            match first.filter(|_| full == Exhausted::Principal) {
                Some(id) => drop(table.watched.remove(&id)),
                None => return Err(ConnectError::TooMany),
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, state: &StateToken, pending: Pending) -> Result<(), ConnectError> {
        let mut table = self.lock();
        let watched = Watched {
            ending: watch::Sender::new(None),
            provider: pending.grant_request.provider.clone(),
            expires_at: pending.expires_at,
            answered: false,
            place: self.ending(&mut table, &pending.grant_request.owner)?,
        };
        table.watched.insert(pending.connect_id.clone(), watched);
        table.pending.insert(digest(state), pending);
        Ok(())
    }

    /// Takes the consent out: a state is good once. One that was begun in a session stays where another asks for it.
    pub(crate) fn take(
        &self,
        now: Uptime,
        state: &StateToken,
        visit: Option<&Visit<'_>>,
    ) -> Result<Found, ConnectError> {
        let (mut guard, state) = (self.lock(), digest(state));
        let table = &mut *guard;
        let session = visit.and_then(|visit| visit.session).map(|open| open.id);
        let begun_in = table.pending.get(&state).and_then(|pending| pending.session);
        if begun_in.is_some() && begun_in != session {
            return Err(ConnectError::OtherSession);
        }
        let Some(pending) = table
            .pending
            .remove(&state)
            .filter(|pending| pending.expires_at > now)
        else {
            return table.ended(now, &state, visit).map(Found::Ended);
        };
        if let Some(watched) = table.watched.get_mut(&pending.connect_id) {
            watched.answered = true;
        }
        let used = Used {
            connect_id: pending.connect_id.clone(),
            session: pending.session,
            browser: visit.map(|visit| visit.browser),
        };
        table.used.insert(state, used);
        Ok(Found::Pending(Box::new(pending)))
    }

    pub(crate) fn end(&self, connect_id: &str, ending: Result<Connected, ConnectError>) {
        if let Some(watched) = self.lock().watched.get(connect_id) {
            watched.ending.send_replace(Some(ending));
        }
    }

    /// How a consent ends, when nobody is waited for any more, and at whose page that was.
    pub(crate) fn watch(&self, connect_id: &str) -> Option<(watch::Receiver<Ending>, Uptime, ProviderId)> {
        let table = self.lock();
        let watched = table.watched.get(connect_id)?;
        let ending = watched.ending.subscribe();
        Some((ending, watched.expires_at, watched.provider.clone()))
    }

    /// Whose consent goes by this name.
    pub(crate) fn owner_of(&self, connect_id: &str) -> Option<OwnerId> {
        let table = self.lock();
        table.watched.get(connect_id)?.place.holder().cloned()
    }

    /// Whose consent has this state, while it is under way.
    pub(crate) fn owner_of_state(&self, state: &StateToken) -> Option<OwnerId> {
        let table = self.lock();
        let pending = table.pending.get(&digest(state))?;
        Some(pending.grant_request.owner.clone())
    }

    pub(crate) fn is_answered(&self, connect_id: &str) -> bool {
        self.lock()
            .watched
            .get(connect_id)
            .is_some_and(|watched| watched.answered)
    }
}
