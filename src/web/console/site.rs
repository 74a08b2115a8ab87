//! What most pages need: the broker, where the pages are, and what the person who asks may see.

use std::sync::Arc;

use super::{
    layout::{Layout, Tab},
    notice::Notice,
    refusal::Refusal,
};
use crate::{
    broker::{AccountRef, AccountView, AgentView, Asker, Broker},
    id::{AgentName, IntegrationId, OwnerId},
    session::{Session, Viewer},
    text::sentence::sentence,
    web::paths::Paths,
};

/// The broker, and where the pages about it are.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) broker: Arc<Broker>,
    pub(super) paths: Arc<Paths>,
}

impl Site {
    /// What surrounds a page.
    pub(super) fn layout<'a>(&'a self, session: Option<&'a Session>, tab: Tab, title: &str) -> Layout<'a> {
        Layout::new(self.paths.prefix(), session, tab, title)
    }

    /// The account of this id, where the viewer may see it.
    pub(super) fn account(&self, session: &Session, id: &str) -> Result<AccountView, Refusal> {
        let id: IntegrationId = id.parse().map_err(|_| Refusal::NotFound)?;
        let view = self
            .broker
            .accounts
            .account(&AccountRef::Id(id))
            .map_err(|_| Refusal::NotFound)?;
        if session.admission.viewer.may_see(&view.record.owner) {
            Ok(view)
        } else {
            Err(Refusal::NotFound)
        }
    }

    /// The agent of this name, where the viewer may see it.
    pub(super) fn agent(&self, session: &Session, name: &str) -> Result<AgentView, Refusal> {
        let name: AgentName = name.parse().map_err(|_| Refusal::NotFound)?;
        let view = self.broker.agent_list.agent(&name).ok_or(Refusal::NotFound)?;
        let owner = &view.snapshot.manifest.owner;
        if session.admission.viewer.may_see(owner) {
            Ok(view)
        } else {
            Err(Refusal::NotFound)
        }
    }
}

/// The owner that a page is about: the viewer's own, or whom the operator names.
pub(super) fn owner_of(session: &Session, named: &str) -> Result<Option<OwnerId>, Refusal> {
    match session.admission.viewer.owner() {
        Some(own) if named.is_empty() || named == own.as_str() => Ok(Some(own.clone())),
        Some(_) => Err(Refusal::NotFound),
        None if named.is_empty() => Ok(None),
        None => named.parse::<OwnerId>().map(Some).map_err(|error| {
            Notice::new("That is no owner's name")
                .says(sentence(&error.to_string()))
                .into()
        }),
    }
}

/// Whose pace counts.
pub(super) fn asker(session: &Session) -> Asker {
    match session.admission.viewer {
        Viewer::Operator => Asker::Operator,
        Viewer::Owner(_) => Asker::Owner,
    }
}
