//! Who looks at the console: one-time links, and the sessions that they open.
//!
//! Both are kept in memory alone, by the digests of their tokens: a restart signs everybody out, and nothing that is
//! stored opens a session. All times are uptimes, so that setting the clock neither keeps a session nor ends it.

mod digest;
mod records;
mod table;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, futures::Notified};

use crate::{
    clock::SharedClock,
    entropy::SharedEntropy,
    id::OwnerId,
    secret::{BrowserToken, FormToken, LinkToken, SessionToken},
};

pub use records::{
    Admission, BrowserId, Ended, Link, Principal, Session, SessionId, SessionLimits, TooManyLinks, Viewer,
    Visit,
};

use digest::digest;
use table::Table;

/// The console's page that a one-time link leads to.
pub const SIGN_IN: &str = "/console/sign-in";

/// True for what may name a page of the console, below its root. It stands for itself in a query, and leads nowhere else.
pub fn is_page(page: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'/');
    page.len() <= 128 && page.bytes().all(plain)
}

/// How long a one-time link works for whoever asked for it.
pub const LINK_LIFE: Duration = Duration::from_secs(5 * 60);
/// How long one works that is handed on to somebody else.
pub const INVITATION_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The links and the sessions.
pub struct Sessions {
    clock: SharedClock,
    entropy: SharedEntropy,
    limits: SessionLimits,
    table: Mutex<Table>,
    closed: Notify,
}

impl Sessions {
    /// None yet.
    pub fn new(clock: SharedClock, entropy: SharedEntropy, limits: SessionLimits) -> Self {
        Self {
            clock,
            entropy,
            limits,
            table: Mutex::default(),
            closed: Notify::new(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic while it was held leaves plain data, each entry whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A link that opens one session, once, within `life`. Of an owner's links, the one that ends first makes room.
    ///
    /// # Errors
    /// When too many are open in all.
    pub fn invite(&self, admission: Admission, life: Duration) -> Result<Link, TooManyLinks> {
        let token = LinkToken::from(self.entropy.token());
        let now = self.clock.moment();
        let until = now.uptime.after(life);
        self.table()
            .add_link(now.uptime, digest(token.expose()), admission, until)?;
        let expires_at = now.wall_at(until);
        Ok(Link { token, expires_at })
    }

    /// What a link admits to, while it works. It goes on working.
    pub fn invited(&self, token: &LinkToken) -> Option<Arc<Admission>> {
        self.table().link(self.clock.uptime(), &digest(token.expose()))
    }

    /// Opens a session with a link, which works no more then.
    pub fn open(&self, token: &LinkToken) -> Option<(SessionToken, Session)> {
        let admission = self
            .table()
            .take_link(self.clock.uptime(), &digest(token.expose()))?;
        Some(self.admit(admission))
    }

    /// Opens a session for somebody whom a trusted proxy knows.
    pub fn admit(&self, admission: Arc<Admission>) -> (SessionToken, Session) {
        let (token, session) = self.passing(admission);
        let now = self.clock.uptime();
        self.table().add_session(now, self.limits, session.clone());
        (token, session)
    }

    /// A session that nobody finds again: what one request sees that is to leave nothing behind.
    pub fn passing(&self, admission: Arc<Admission>) -> (SessionToken, Session) {
        let token = SessionToken::from(self.entropy.token());
        let session = Session {
            id: SessionId(digest(token.expose())),
            admission,
            form_token: FormToken::from(self.entropy.token()),
        };
        (token, session)
    }

    /// What a browser is to be known by.
    pub fn new_browser(&self) -> BrowserToken {
        BrowserToken::from(self.entropy.token())
    }

    /// The session of this token. A look by a person (`looked`) begins its idle time anew; one that a page takes by
    /// itself does not.
    pub fn find(&self, token: &SessionToken, looked: bool) -> Option<Session> {
        let now = self.clock.uptime();
        let id = digest(token.expose());
        self.table().session(now, self.limits, &id, looked)
    }

    /// True while the session is open.
    pub fn is_open(&self, id: SessionId) -> bool {
        let now = self.clock.uptime();
        self.table().session(now, self.limits, &id.0, false).is_some()
    }

    /// Ends a session.
    pub fn close(&self, id: SessionId) {
        self.table().remove_session(&id.0);
        self.closed.notify_waiters();
    }

    /// Ends every session and every unused link of this owner, or (`None`) everybody's. How many of each.
    pub fn end(&self, owner: Option<&OwnerId>) -> Ended {
        let ended = self.table().end(self.clock.uptime(), self.limits, owner);
        self.closed.notify_waiters();
        ended
    }

    /// True while a session of this very admission is open.
    pub fn is_admitted(&self, admission: &Admission) -> bool {
        self.table()
            .is_admitted(self.clock.uptime(), self.limits, admission)
    }

    /// Resolves when any session is closed from now on. One that ends in time is not announced.
    pub fn closed(&self) -> Notified<'_> {
        self.closed.notified()
    }
}

#[cfg(test)]
mod tests;
