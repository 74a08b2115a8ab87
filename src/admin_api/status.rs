//! Failures as gRPC carries them: a code, a sentence, and `google.rpc.ErrorInfo`.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    broker::{AccountError, AgentError, ConnectError, ImportError, ServiceAccountError},
    id::InvalidId,
    provider::{InvalidGrantFile, Remedy},
    store::StoreError,
};

/// The domain of every `ErrorInfo` of this program.
pub const DOMAIN: &str = "token-broker";

/// A status with its details.
pub fn status(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

/// A request that says something impossible.
pub(super) fn invalid(error: &InvalidId) -> Status {
    status(Code::InvalidArgument, "invalid_request", error.to_string())
}

pub(super) fn account(error: &AccountError) -> Status {
    match error {
        AccountError::Unknown(_) => status(Code::NotFound, "not_found", error.to_string()),
        AccountError::Ambiguous(_) => status(Code::FailedPrecondition, "ambiguous", error.to_string()),
        AccountError::TooOften(_) => status(Code::ResourceExhausted, "rate_limited", error.to_string()),
        AccountError::Store(inner) => store(inner),
    }
}

pub(super) fn agent(error: &AgentError) -> Status {
    match error {
        AgentError::Unknown(_) => status(Code::NotFound, "not_found", error.to_string()),
        AgentError::FromFile { .. } => status(Code::FailedPrecondition, "from_file", error.to_string()),
        AgentError::Taken(_) => status(Code::PermissionDenied, "other_owner", error.to_string()),
        // No quota of time: to try again later is of no use.
        AgentError::TooMany(_) => status(Code::FailedPrecondition, "too_many_agents", error.to_string()),
        AgentError::Manifest(_) => status(Code::InvalidArgument, "invalid_request", error.to_string()),
        AgentError::Store(inner) => store(inner),
    }
}

pub(crate) fn connect(error: &ConnectError) -> Status {
    let (code, reason) = connect_form(error);
    status(code, reason, error.to_string())
}

fn connect_form(error: &ConnectError) -> (Code, &'static str) {
    match error {
        ConnectError::Capability(_) => (Code::InvalidArgument, "unknown_capability"),
        ConnectError::NoCapability
        | ConnectError::SeveralProviders(_)
        | ConnectError::ProviderUnsaid(_)
        | ConnectError::OtherProvider { .. }
        | ConnectError::ReturnUrl(_)
        | ConnectError::BadRedirect(_)
        | ConnectError::ServiceAccount(_) => (Code::InvalidArgument, "invalid_request"),
        ConnectError::TooMany => (Code::ResourceExhausted, "rate_limited"),
        ConnectError::UnknownState
        | ConnectError::OtherBrowser
        | ConnectError::UnknownConnect(_)
        | ConnectError::UnknownProvider { .. }
        | ConnectError::UnknownAccount(_) => (Code::NotFound, "not_found"),
        ConnectError::OtherIssuer { .. } => (Code::FailedPrecondition, "other_issuer"),
        ConnectError::Ambiguous(_) => (Code::FailedPrecondition, "ambiguous"),
        ConnectError::OtherSession => (Code::FailedPrecondition, "other_session"),
        ConnectError::TimedOut(_) => (Code::DeadlineExceeded, "consent_timed_out"),
        ConnectError::Denied(..) => (Code::PermissionDenied, "consent_denied"),
        ConnectError::NothingGranted(_) => (Code::PermissionDenied, "nothing_granted"),
        ConnectError::NoRefreshToken(_) => (Code::FailedPrecondition, "no_refresh_token"),
        ConnectError::OtherAccount { .. } | ConnectError::NotThatAccount { .. } => {
            (Code::FailedPrecondition, "other_account")
        }
        ConnectError::ConnectedAlready { .. } => (Code::FailedPrecondition, "connected_already"),
        ConnectError::Narrower { .. } => (Code::FailedPrecondition, "narrower_grant"),
        ConnectError::RevokedMeanwhile { .. } => (Code::Aborted, "revoked_meanwhile"),
        ConnectError::Store(_) => (Code::Unavailable, "store"),
        ConnectError::Provider(error, _) => provider(error.kind),
    }
}

fn provider(kind: Remedy) -> (Code, &'static str) {
    match kind {
        Remedy::Retry => (Code::Unavailable, "provider_unavailable"),
        Remedy::Reconnect => (Code::FailedPrecondition, "reconnect_required"),
        Remedy::Operator => (Code::FailedPrecondition, "misconfigured"),
        Remedy::Permission => (Code::PermissionDenied, "permission_missing"),
    }
}

pub(super) fn service_account(error: &ServiceAccountError) -> Status {
    let (code, reason) = match error {
        ServiceAccountError::File(_) => (Code::InvalidArgument, "invalid_key_file"),
        ServiceAccountError::Subject(_) => (Code::InvalidArgument, "invalid_request"),
        ServiceAccountError::Provider(error) | ServiceAccountError::NotDelegated { error, .. } => {
            provider(error.kind)
        }
        ServiceAccountError::Store(_) => (Code::Unavailable, "store"),
    };
    status(code, reason, error.to_string())
}

pub(super) fn import(error: &ImportError) -> Status {
    let (code, reason) = import_form(error);
    status(code, reason, error.to_string())
}

fn import_form(error: &ImportError) -> (Code, &'static str) {
    match error {
        ImportError::File(InvalidGrantFile::OtherClient { .. }) => (Code::FailedPrecondition, "other_client"),
        ImportError::File(_) => (Code::InvalidArgument, "invalid_grant_file"),
        ImportError::Useless(_) => (Code::PermissionDenied, "nothing_granted"),
        ImportError::Narrower { .. } => (Code::FailedPrecondition, "narrower_grant"),
        ImportError::Provider(error) => provider(error.kind),
        ImportError::Connect(error) => connect_form(error),
        ImportError::Spent(inner) => import_form(inner),
    }
}

pub(super) fn store(error: &StoreError) -> Status {
    tracing::error!(%error, "a request of the admin socket failed in the store");
    status(Code::Unavailable, "store", error.to_string())
}
