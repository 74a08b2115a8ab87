//! What is said of a grant that does not work.

use crate::{
    cause::{GrantCause, GrantRefusal},
    clock,
    provider::{
        Provider,
        sentences::{self, Recognized, Retried},
    },
};

/// What is wrong with a grant and what to do. `provider` is the one that it belongs to.
pub(crate) fn grant(cause: &GrantCause, provider: Option<&Provider>) -> String {
    match cause {
        GrantCause::Refused(refusal) => refused(refusal, provider),
        GrantCause::PermissionsRemoved {
            account,
            announced_at,
        } => format!(
            "Access to {account} was withdrawn at Google, as Google announced at {}: the person, an administrator or \
             Google removed this app's permissions. The owner can connect the account again.",
            clock::rfc3339(*announced_at)
        ),
        GrantCause::GrantRevoked {
            account,
            announced_at,
        } => format!(
            "Google revoked the grant of {account}, as it announced at {}. The owner has to connect the account again.",
            clock::rfc3339(*announced_at)
        ),
        GrantCause::AccountDisabled {
            account,
            reason,
            announced_at,
        } => {
            let why = match reason.as_str() {
                "" => String::new(),
                words => format!(" ({words})"),
            };
            format!(
                "Google disabled the account {account}{why}, as it announced at {}. Access comes back by itself when \
                 Google enables the account again.",
                clock::rfc3339(*announced_at)
            )
        }
        GrantCause::Altered { account } => format!(
            "The grant of {account} cannot be opened: it was altered, or moved there from another record; restore it \
             from a backup, or connect the account again."
        ),
        GrantCause::Written(sentence) => sentence.clone(),
    }
}

/// What the provider said, with what this broker alone knows about the grant.
fn refused(refusal: &GrantRefusal, provider: Option<&Provider>) -> String {
    let known = provider.and_then(|provider| {
        let row = provider.failures.row_of(&refusal.cause)?;
        let provider = provider.profile.name.as_str().into();
        Some(Recognized { row, provider })
    });
    let mut sentence = sentences::provider(&refusal.cause, known.as_ref(), Retried::ByItself);
    if let Some(begun) = refusal.cut_off {
        let begun = clock::rfc3339(begun);
        return format!(
            "{sentence} A renewal begun at {begun} was cut off before its answer was stored, by a crash or a lost \
             connection: if the provider had rotated the grant by then, that cost it."
        );
    }
    let hint = refusal
        .connected_at
        .and_then(|connected_at| provider?.consent()?.explain_end(connected_at, refusal.refused_at));
    if let Some(hint) = hint {
        sentence.push(' ');
        sentence.push_str(hint);
    }
    sentence
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        cause::{Call, ProviderCause, Refusal},
        clock::ManualClock,
        config::ClientType,
        entropy::SystemEntropy,
        http_client::{Egress, Limits},
        provider::google::{ClientOptions, Endpoints, providers},
    };

    fn google() -> Provider {
        let options = ClientOptions {
            client_id: "client".to_owned(),
            client_secret: None,
            client_type: ClientType::Web,
            dpop: false,
            redirect_uri: "http://127.0.0.1:8420/oauth/callback".parse().unwrap(),
            endpoints: Endpoints::google(),
            limits: Limits::default(),
            egress: Egress::default(),
        };
        let clock = ManualClock::new("2024-01-15T10:30:00Z".parse().unwrap());
        providers(options, Arc::new(clock), Arc::new(SystemEntropy)).swap_remove(0)
    }

    /// A grant that was connected then and refused at half past ten on the 22nd.
    fn refused(connected_at: &str, cut_off: Option<&str>) -> GrantCause {
        GrantCause::Refused(GrantRefusal {
            cause: ProviderCause::Refused(Refusal {
                call: Call::Refresh,
                status: 400,
                error: Some("invalid_grant".to_owned()),
                subtype: None,
                reasons: Vec::new(),
                description: Some("Token has been expired or revoked.".to_owned()),
            }),
            refused_at: "2024-01-22T10:30:00Z".parse().unwrap(),
            connected_at: Some(connected_at.parse().unwrap()),
            cut_off: cut_off.map(|moment| moment.parse().unwrap()),
        })
    }

    const REFUSED: &str = "Google no longer accepts this grant: it was revoked, it expired, or the account's password or \
                           policy changed. The owner has to connect the account again. (HTTP 400, invalid_grant: Token \
                           has been expired or revoked.)";

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_table_with_what_is_known_here() {
        let said = |cause: GrantCause| grant(&cause, Some(&google()));
        assert_eq!(said(refused("2024-01-01T10:30:00Z", None)), REFUSED);
        let week = said(refused("2024-01-15T10:30:00Z", None));
        assert!(
            week.strip_prefix(REFUSED)
                .unwrap()
                .starts_with(" This grant ended seven days after"),
            "{week}"
        );
        assert_eq!(
            said(refused("2024-01-15T10:30:00Z", Some("2024-01-22T10:00:00Z"))),
            format!(
                "{REFUSED} A renewal begun at 2024-01-22T10:00:00Z was cut off before its answer was stored, by a crash \
                 or a lost connection: if the provider had rotated the grant by then, that cost it."
            )
        );
    }

    #[test]
    fn a_refusal_by_nobody_who_is_known_keeps_the_providers_words() {
        assert_eq!(
            grant(&refused("2024-01-15T10:30:00Z", None), None),
            "The provider refused. (HTTP 400, invalid_grant: Token has been expired or revoked.)"
        );
    }

    #[test]
    fn what_was_announced_is_told_with_its_time() {
        let (account, announced_at) = (
            "alice@example.com".to_owned(),
            "2024-01-15T10:30:00Z".parse().unwrap(),
        );
        let disabled = |reason: &str| GrantCause::AccountDisabled {
            account: account.clone(),
            reason: reason.to_owned(),
            announced_at,
        };
        for (cause, sentence) in [
            (
                disabled("hijacking"),
                "Google disabled the account alice@example.com (hijacking), as it announced at 2024-01-15T10:30:00Z. \
                 Access comes back by itself when Google enables the account again.",
            ),
            (
                disabled(""),
                "Google disabled the account alice@example.com, as it announced at 2024-01-15T10:30:00Z. Access comes \
                 back by itself when Google enables the account again.",
            ),
            (
                GrantCause::GrantRevoked {
                    account: account.clone(),
                    announced_at,
                },
                "Google revoked the grant of alice@example.com, as it announced at 2024-01-15T10:30:00Z. The owner has \
                 to connect the account again.",
            ),
            (
                GrantCause::PermissionsRemoved {
                    account: account.clone(),
                    announced_at,
                },
                "Access to alice@example.com was withdrawn at Google, as Google announced at 2024-01-15T10:30:00Z: the \
                 person, an administrator or Google removed this app's permissions. The owner can connect the account \
                 again.",
            ),
            (
                GrantCause::Altered {
                    account: account.clone(),
                },
                "The grant of alice@example.com cannot be opened: it was altered, or moved there from another record; \
                 restore it from a backup, or connect the account again.",
            ),
            (GrantCause::Written("As it was.".to_owned()), "As it was."),
        ] {
            assert_eq!(grant(&cause, None), sentence);
        }
    }
}
