//! What people and agents are told of an account that cannot be used, and of a token that cannot be obtained.

use crate::{
    policy::context::PolicyContext,
    policy::grant_sentences::grant,
    registry::renewal_fault::{AccountFault, RenewalFault, SecretFault},
};

/// Why there is no new token, and what to do.
pub(crate) fn renewal(context: &PolicyContext, fault: &RenewalFault) -> String {
    match fault {
        RenewalFault::Provider(fault) => fault.to_string(),
        RenewalFault::GrantReplaced(fault) => {
            format!("{fault} A new grant came with this answer; it is tried next.")
        }
        RenewalFault::Account(fault) => account(context, fault),
        RenewalFault::Secret(fault) => secret(fault),
        RenewalFault::IntentNotStored(error) => {
            format!("The database does not take the intent to renew, so the provider was not asked: {error}")
        }
        RenewalFault::GrantNotStored { provider, error } => format!(
            "{provider} gave a new grant that cannot be stored, so its token is not handed out yet: {error}"
        ),
        RenewalFault::AccountChanged => {
            "The account was changed or disconnected meanwhile; ask again.".to_owned()
        }
        RenewalFault::Ending => "The daemon is ending; ask again when it is back.".to_owned(),
        RenewalFault::Interrupted => "The renewal was interrupted; see the daemon's log.".to_owned(),
    }
}

/// Why an account as a whole cannot be used, and what to do.
pub(crate) fn account(context: &PolicyContext, fault: &AccountFault) -> String {
    match fault {
        AccountFault::UnknownProvider { account, provider } => format!(
            "{account} is an account of `{provider}`, a provider that the daemon is not configured for: configure it \
             again, or disconnect the account."
        ),
        AccountFault::OtherBinding {
            account,
            keyed,
            found,
            configured,
        } => {
            let (what, remedy) = if *keyed {
                (
                    "key",
                    "configure that endpoint again, or disconnect the account and add another key",
                )
            } else {
                (
                    "grant",
                    "configure that client again, or disconnect the account and connect it anew",
                )
            };
            format!(
                "The {what} of {account} belongs to {found}, but the daemon is configured for {configured}: {remedy}."
            )
        }
        AccountFault::Grant { cause, provider } => grant(cause, context.providers.get(provider)),
    }
}

fn secret(fault: &SecretFault) -> String {
    match fault {
        SecretFault::GrantSealed { account, error } => {
            format!("The grant of {account} cannot be opened: {error}")
        }
        SecretFault::GrantNotText { account } => format!("The grant of {account} is not text."),
        SecretFault::ProofKey { account, error } => {
            format!("The grant of {account} is bound to a key that cannot be opened: {error}")
        }
        SecretFault::Key { account, error } => format!("The key of {account} cannot be opened: {error}"),
    }
}
