//! What a request names, checked.

use tonic::{Code, Status};

use super::status::{connect, invalid, status};
use crate::{
    broker::{AccountRef, Broker, ConnectTarget, Revocation},
    id::{AgentName, IntegrationId, OwnerId},
    proto::v1,
    secret::shape::redacted,
    session::{Admission, Viewer, is_page},
    telemetry::audit::{Actor, ChainPoint, NotAChainPoint},
    text,
};

/// What stands for an account that is not connected yet: no address, since those have an `@`.
const NEW_ACCOUNT: &str = "new";

/// An owner, where one is named.
pub(super) fn owner(text: &str) -> Result<Option<OwnerId>, Status> {
    if text.is_empty() {
        Ok(None)
    } else {
        text.parse().map(Some).map_err(|error| invalid(&error))
    }
}

/// A line of the audit trail, as it was noted down once.
pub(super) fn audit_head(head: &v1::AuditHead) -> Result<ChainPoint, Status> {
    format!("{}:{}", head.sequence, head.hash)
        .parse()
        .map_err(|error: NotAChainPoint| status(Code::InvalidArgument, "invalid_request", error.to_string()))
}

/// An agent.
pub(super) fn agent_name(text: &str) -> Result<AgentName, Status> {
    text.parse().map_err(|error| invalid(&error))
}

/// An account.
pub(super) fn reference(which: Option<v1::IntegrationRef>) -> Result<AccountRef, Status> {
    let which = which.unwrap_or_default();
    if !which.id.is_empty() {
        return which
            .id
            .parse()
            .map(AccountRef::Id)
            .map_err(|error| invalid(&error));
    }
    let Some(owner) = owner(&which.owner)? else {
        let message = "name the integration: its id, or its owner";
        return Err(status(Code::InvalidArgument, "invalid_request", message));
    };
    Ok(AccountRef::Owner {
        owner,
        account: Some(which.account).filter(|account| !account.is_empty()),
    })
}

/// What a link to the console admits to.
pub(super) fn admission(
    broker: &Broker,
    owner: Option<OwnerId>,
    return_url: &str,
    actor: Actor,
) -> Result<Admission, Status> {
    let url = Some(return_url).filter(|url| !url.is_empty());
    let return_url = url.map(|url| broker.connect.allowed_return(url)).transpose();
    let return_url = return_url.map_err(|error| connect(&error))?;
    Ok(match owner {
        Some(owner) => Admission {
            actor: Actor::Person(owner.to_string()),
            viewer: Viewer::Owner(owner),
            return_url,
        },
        None => Admission {
            viewer: Viewer::Operator,
            actor,
            return_url,
        },
    })
}

/// A page of the console; empty where none is named.
pub(super) fn console_page(page: &str) -> Result<&str, Status> {
    if !is_page(page) {
        let message = "page: name a page of the console, such as `agents/invoice-bot`";
        return Err(status(Code::InvalidArgument, "invalid_request", message));
    }
    Ok(page)
}

/// Which account a consent is asked for.
pub(super) fn target(request: &v1::BeginConnectRequest) -> Result<ConnectTarget, Status> {
    if !request.integration_id.is_empty() {
        if !request.owner.is_empty() || !request.account.is_empty() {
            let message = "name the integration by its id, or by owner and account, not both";
            return Err(status(Code::InvalidArgument, "invalid_request", message));
        }
        let id = request.integration_id.parse();
        return id
            .map(ConnectTarget::Integration)
            .map_err(|error| invalid(&error));
    }
    account_of(&request.owner, &request.account)
}

/// Which of an owner's accounts is meant, connected or not.
pub(super) fn account_of(owner: &str, account: &str) -> Result<ConnectTarget, Status> {
    let owner: OwnerId = owner.parse().map_err(|error| invalid(&error))?;
    Ok(match account {
        "" => ConnectTarget::Owner(owner),
        NEW_ACCOUNT => ConnectTarget::Another(owner),
        name if name.contains('@') || name.parse::<IntegrationId>().is_ok() => {
            ConnectTarget::Address(owner, name.to_owned())
        }
        other => {
            let other = text::quoted(&redacted(other), 80);
            let message = format!("`{other}` is neither an account's address or id nor `{NEW_ACCOUNT}`");
            return Err(status(Code::InvalidArgument, "invalid_request", message));
        }
    })
}

/// When to revoke.
pub(super) fn revocation(value: i32) -> Revocation {
    match v1::Revocation::try_from(value) {
        Ok(v1::Revocation::Never) => Revocation::Never,
        Ok(v1::Revocation::Always) => Revocation::Always,
        _ => Revocation::WhenLast,
    }
}
