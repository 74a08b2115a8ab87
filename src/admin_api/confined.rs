//! What is a caller's own. An owner's client finds nothing else: what it names by owner is refused, what it names by id or
//! name is as if it were not there, and lists leave it out.

use tonic::{Code, Status};

use super::{
    principal::Principal,
    status::{account, agent, connect, status},
};
use crate::{
    broker::{AccountError, AccountRef, AgentError, Broker, ConnectError, ConnectTarget, UnknownAccount},
    id::{AgentName, OwnerId},
    store::TrailFilter,
};

/// The reason where another owner is named, or none where one has to be.
const OTHER_OWNER: &str = "other_owner";

/// The broker, as far as it is a caller's.
pub(super) struct Confined<'a> {
    broker: &'a Broker,
    caller: &'a Principal,
}

impl<'a> Confined<'a> {
    pub(super) fn new(broker: &'a Broker, caller: &'a Principal) -> Self {
        Self { broker, caller }
    }

    /// Refuses another owner than the caller's own.
    pub(super) fn owner(&self, named: &OwnerId) -> Result<(), Status> {
        match self.caller.owner() {
            Some(own) if own != named => Err(self.not_theirs(own)),
            _ => Ok(()),
        }
    }

    fn not_theirs(&self, own: &OwnerId) -> Status {
        let message = format!("{} acts for the owner {own} alone: name no other", self.caller);
        status(Code::PermissionDenied, OTHER_OWNER, message)
    }

    /// Whose a list is to be: nobody's in particular, where everybody's may be seen.
    pub(super) fn listed(&self, named: Option<OwnerId>) -> Result<Option<OwnerId>, Status> {
        match named {
            Some(named) => self.owner(&named).map(|()| Some(named)),
            None => Ok(self.caller.owner().cloned()),
        }
    }

    /// Whose sessions are meant. The operator's own, and everybody's, are an operator's alone.
    pub(super) fn sessions(&self, named: Option<OwnerId>) -> Result<Option<OwnerId>, Status> {
        match named {
            Some(named) => self.owner(&named).map(|()| Some(named)),
            None if self.caller.is_operator() => Ok(None),
            None => {
                let message = format!(
                    "{} has to name the owner: the operator's sessions are not its",
                    self.caller
                );
                Err(status(Code::PermissionDenied, OTHER_OWNER, message))
            }
        }
    }

    /// Looks whether an account is theirs, where it matters.
    pub(super) fn account(&self, which: &AccountRef) -> Result<(), Status> {
        let Some(own) = self.caller.owner() else {
            return Ok(());
        };
        match which {
            AccountRef::Owner { owner, .. } => self.owner(owner),
            AccountRef::Id(id) => {
                let view = self.broker.accounts.account(which);
                if view.is_ok_and(|view| view.record.owner == *own) {
                    return Ok(());
                }
                // The same answer whether or not it is somebody else's.
                Err(account(&AccountError::Unknown(UnknownAccount::Id(id.clone()))))
            }
        }
    }

    /// The same for the account that a consent is asked for.
    pub(super) fn target(&self, target: &ConnectTarget) -> Result<(), Status> {
        match target {
            ConnectTarget::Owner(owner)
            | ConnectTarget::Address(owner, _)
            | ConnectTarget::Another(owner) => self.owner(owner),
            ConnectTarget::Integration(id) => self.account(&AccountRef::Id(id.clone())),
        }
    }

    /// The same for a consent, by its name.
    pub(super) fn consent(&self, connect_id: &str) -> Result<(), Status> {
        let owner = self.broker.connect.owner_of_consent(connect_id);
        let unknown = || ConnectError::UnknownConnect(crate::text::quoted(connect_id, 80));
        self.own_or(owner.as_ref(), unknown)
    }

    /// The same for a consent, by the redirect that ends it.
    pub(super) fn redirect(&self, query: &str) -> Result<(), Status> {
        let owner = self.broker.connect.owner_of_redirect(query);
        self.own_or(owner.as_ref(), || ConnectError::UnknownState)
    }

    fn own_or(&self, found: Option<&OwnerId>, unknown: impl Fn() -> ConnectError) -> Result<(), Status> {
        match self.caller.owner() {
            Some(own) if found != Some(own) => Err(connect(&unknown())),
            _ => Ok(()),
        }
    }

    /// The same for an agent.
    pub(super) fn agent(&self, name: &AgentName) -> Result<(), Status> {
        let Some(own) = self.caller.owner() else {
            return Ok(());
        };
        let view = self.broker.agent_list.agent(name);
        if view.is_some_and(|view| view.snapshot.manifest.owner == *own) {
            return Ok(());
        }
        Err(agent(&AgentError::Unknown(name.clone())))
    }

    /// Which lines of the audit trail they may read; all where nothing is filtered.
    pub(super) fn trail(&self) -> Option<TrailFilter> {
        if self.caller.is_operator() {
            return None;
        }
        Some(match self.caller.owner() {
            Some(owner) => TrailFilter {
                owner: Some(owner.clone()),
                ..TrailFilter::default()
            },
            None => TrailFilter {
                actor: Some(self.caller.actor().to_string()),
                ..TrailFilter::default()
            },
        })
    }
}
