//! What is open, by digest.

use std::{collections::HashMap, sync::Arc};

use super::{
    digest::Digest,
    records::{Admission, Ended, Principal, Session, SessionLimits, TooManyLinks, Viewer},
};
use crate::{
    budget::{
        Budget, Exhausted, Privileged, Share,
        table::{CONSOLE_LINKS, CONSOLE_SESSIONS},
    },
    clock::Uptime,
    id::OwnerId,
};

struct OpenLink {
    admission: Arc<Admission>,
    until: Uptime,
    _share: Share<Viewer>,
}

struct OpenSession {
    session: Session,
    share: Share<Principal>,
    begun: Uptime,
    used: Uptime,
}

impl OpenSession {
    fn lives(&self, now: Uptime, limits: SessionLimits) -> bool {
        now < self.begun.after(limits.whole) && now < self.used.after(limits.idle)
    }
}

/// Links and sessions.
pub(super) struct Table {
    links: HashMap<Digest, OpenLink>,
    sessions: HashMap<Digest, OpenSession>,
    links_budget: Budget<Viewer>,
    sessions_budget: Budget<Principal>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            links: HashMap::new(),
            sessions: HashMap::new(),
            links_budget: Budget::new(CONSOLE_LINKS),
            sessions_budget: Budget::new(CONSOLE_SESSIONS),
        }
    }
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
        let share = self.link_share(&admission.viewer)?;
        let link = OpenLink {
            admission: Arc::new(admission),
            until,
            _share: share,
        };
        self.links.insert(id, link);
        Ok(())
    }

    fn link_share(&mut self, viewer: &Viewer) -> Result<Share<Viewer>, TooManyLinks> {
        loop {
            let full = match self.links_budget.take(viewer) {
                Ok(share) => return Ok(share),
                Err(full) => full,
            };
            let privileged = || self.links_budget.take_privileged(Privileged::Operator, 1).ok();
            if *viewer == Viewer::Operator
                && let Some(share) = privileged()
            {
                return Ok(share);
            }
            if full == Exhausted::Surface {
                return Err(TooManyLinks);
            }
            let own = self
                .links
                .iter()
                .filter(|(_, link)| link.admission.viewer == *viewer);
            let first_to_end = own.min_by_key(|(_, link)| link.until).map(|(id, _)| *id);
            self.links.remove(&first_to_end.ok_or(TooManyLinks)?);
        }
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
        let Some(share) = self.session_share(&session.admission) else {
            return;
        };
        let open = OpenSession {
            begun: now,
            used: now,
            session,
            share,
        };
        self.sessions.insert(open.session.id.0, open);
    }

    /// Whoever has as many sessions as one person may loses the one that was used longest ago. Where all are taken, some
    /// owner loses one; never an operator, whom nobody else can sign out by signing in.
    fn session_share(&mut self, admission: &Admission) -> Option<Share<Principal>> {
        let who = admission.principal();
        loop {
            let full = match self.sessions_budget.take(&who) {
                Ok(share) => return Some(share),
                Err(full) => full,
            };
            let is_operator = admission.viewer == Viewer::Operator;
            if is_operator
                && full == Exhausted::Surface
                && let Ok(share) = self.sessions_budget.take_privileged(Privileged::Operator, 1)
            {
                return Some(share);
            }
            let may_end = |open: &&OpenSession| match full {
                Exhausted::Principal => open.share.holder() == Some(&who),
                Exhausted::Surface => open.session.admission.viewer != Viewer::Operator,
            };
            let idlest = self
                .sessions
                .values()
                .filter(may_end)
                .min_by_key(|open| open.used)?;
            let id = idlest.session.id.0;
            self.sessions.remove(&id);
        }
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
