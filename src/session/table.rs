//! What is open, by digest.

use std::{collections::HashMap, sync::Arc};

use super::{Admission, Ended, Session, SessionLimits, TooManyLinks};
use crate::{clock::Uptime, id::OwnerId};

/// Links open at most: each was asked for by the operator or the platform.
const MOST_LINKS: usize = 10_000;
/// Sessions open at most; beyond that, the one that was used longest ago ends.
const MOST_SESSIONS: usize = 10_000;

/// SHA-256 of a token: looking one up takes the same time whatever it resembles.
pub(super) type Digest = [u8; 32];

/// The digest of a token.
pub(super) fn digest(token: &str) -> Digest {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

struct OpenLink {
    admission: Arc<Admission>,
    until: Uptime,
}

struct OpenSession {
    session: Session,
    begun: Uptime,
    used: Uptime,
}

impl OpenSession {
    fn lives(&self, now: Uptime, limits: SessionLimits) -> bool {
        now < self.begun.after(limits.whole) && now < self.used.after(limits.idle)
    }
}

/// Links and sessions.
#[derive(Default)]
pub(super) struct Table {
    links: HashMap<Digest, OpenLink>,
    sessions: HashMap<Digest, OpenSession>,
}

impl Table {
    pub(super) fn add_link(
        &mut self,
        now: Uptime,
        id: Digest,
        admission: Admission,
        until: Uptime,
    ) -> Result<(), TooManyLinks> {
        self.links.retain(|_, link| now < link.until);
        if self.links.len() >= MOST_LINKS {
            return Err(TooManyLinks);
        }
        let admission = Arc::new(admission);
        self.links.insert(id, OpenLink { admission, until });
        Ok(())
    }

    pub(super) fn link(&self, now: Uptime, id: &Digest) -> Option<Arc<Admission>> {
        let link = self.links.get(id).filter(|link| now < link.until)?;
        Some(link.admission.clone())
    }

    pub(super) fn take_link(&mut self, now: Uptime, id: &Digest) -> Option<Arc<Admission>> {
        let link = self.links.remove(id).filter(|link| now < link.until)?;
        Some(link.admission)
    }

    pub(super) fn add_session(&mut self, now: Uptime, limits: SessionLimits, session: Session) {
        self.sessions.retain(|_, open| open.lives(now, limits));
        if self.sessions.len() >= MOST_SESSIONS {
            let idlest = self.sessions.iter().min_by_key(|(_, open)| open.used);
            if let Some(id) = idlest.map(|(id, _)| *id) {
                self.sessions.remove(&id);
            }
        }
        let open = OpenSession {
            begun: now,
            used: now,
            session,
        };
        self.sessions.insert(open.session.id.0, open);
    }

    pub(super) fn session(
        &mut self,
        now: Uptime,
        limits: SessionLimits,
        id: &Digest,
        looked: bool,
    ) -> Option<Session> {
        let open = self.sessions.get_mut(id)?;
        if !open.lives(now, limits) {
            self.sessions.remove(id);
            return None;
        }
        if looked {
            open.used = now;
        }
        Some(open.session.clone())
    }

    pub(super) fn is_admitted(&self, now: Uptime, limits: SessionLimits, admission: &Admission) -> bool {
        let mut open = self.sessions.values().filter(|open| open.lives(now, limits));
        open.any(|open| *open.session.admission == *admission)
    }

    pub(super) fn end(&mut self, now: Uptime, limits: SessionLimits, owner: Option<&OwnerId>) -> Ended {
        self.links.retain(|_, link| now < link.until);
        self.sessions.retain(|_, open| open.lives(now, limits));
        let (links, sessions) = (self.links.len(), self.sessions.len());
        let ends = |admission: &Admission| owner.is_none() || admission.viewer.owner() == owner;
        self.links.retain(|_, link| !ends(&link.admission));
        self.sessions.retain(|_, open| !ends(&open.session.admission));
        Ended {
            sessions: sessions - self.sessions.len(),
            links: links - self.links.len(),
        }
    }

    pub(super) fn remove_session(&mut self, id: &Digest) {
        self.sessions.remove(id);
    }
}
