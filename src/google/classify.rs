//! Which failure means what, and whom it concerns.

mod failure;
mod table;

use jiff::{SignedDuration, Timestamp};

pub use failure::{Call, Failure, FailureKind, Said, Sign};
pub(crate) use failure::{DECLINED, TESTING_MODE};
pub use table::FAILURES;

/// The sentence about the consent screen's Testing mode, for a grant that ended about seven days after it
/// was connected. The failure is seen at the next renewal, so up to a day later.
pub fn testing_mode_hint(connected_at: Timestamp, failed_at: Timestamp) -> Option<&'static str> {
    const HOUR: i64 = 3600;
    const WEEK: i64 = 7 * 24 * HOUR;
    let lived = failed_at.duration_since(connected_at);
    let window = SignedDuration::from_secs(WEEK - HOUR)..=SignedDuration::from_secs(WEEK + 24 * HOUR);
    window.contains(&lived).then_some(TESTING_MODE)
}

/// Whether the table has a row for this `error` or `error_subtype`.
pub(super) fn is_known(code: &str) -> bool {
    FAILURES.iter().any(|failure| match failure.sign {
        Sign::Error(codes) | Sign::Reason(codes) => codes.contains(&code),
        Sign::Subtype(error, subtypes) => error == code || subtypes.contains(&code),
        Sign::Busy | Sign::Status(_) | Sign::Redirected | Sign::Silent | Sign::Other => false,
    })
}

/// Says who can act and what they can do. For [`Call::Authorize`] the status is the redirect's.
pub fn classify(call: Call, status: u16, said: Said<'_>) -> &'static Failure {
    FAILURES
        .iter()
        .find(|failure| failure.concerns(call) && failure.sign.is_in(status, said))
        .unwrap_or(&FAILURES[FAILURES.len() - 1])
}

#[cfg(test)]
mod tests {
    use Call::{Authorize, Exchange, Keys, Refresh, Revoke, Userinfo};
    use FailureKind::{Operator, Permission, Reconnect, Retry};

    use super::*;

    const OWN: Call = Call::Assertion { delegated: false };
    const DELEGATED: Call = Call::Assertion { delegated: true };

    type Row = (
        Call,
        u16,
        &'static str,
        Option<&'static str>,
        FailureKind,
        &'static str,
    );

    #[rustfmt::skip]
    const ROWS: &[Row] = &[
        (Refresh, 400, "invalid_grant", None, Reconnect, "no longer accepts this grant"),
        (Refresh, 400, "invalid_grant", Some("invalid_rapt"), Reconnect, "session length policy"),
        (Refresh, 400, "invalid_grant", Some("rapt_required"), Reconnect, "session length policy"),
        (Refresh, 400, "invalid_grant", Some("new_thing"), Reconnect, "no longer accepts this grant"),
        (Refresh, 401, "invalid_grant", None, Reconnect, "no longer accepts this grant"),
        (Exchange, 400, "invalid_grant", None, Reconnect, "authorization code"),
        (Refresh, 400, "invalid_scope", None, Permission, "add the permission"),
        (Authorize, 302, "invalid_scope", None, Permission, "does not know a scope"),
        (Refresh, 401, "invalid_client", None, Operator, "client secret"),
        (Refresh, 401, "unauthorized_client", None, Operator, "another client"),
        (Exchange, 400, "redirect_uri_mismatch", None, Operator, "redirect address"),
        (Refresh, 401, "deleted_client", None, Operator, "was deleted"),
        (Refresh, 403, "org_internal", None, Operator, "another organisation"),
        (Refresh, 400, "unsupported_grant_type", None, Operator, "form of the request"),
        (Refresh, 400, "invalid_request", None, Operator, "form of the request"),
        (Refresh, 403, "disallowed_useragent", None, Operator, "full browser"),
        (Refresh, 400, "never_seen", None, Operator, "no more than this"),
        (Refresh, 400, "access_denied", None, Reconnect, "administrator has to allow"),
        (Refresh, 400, "admin_policy_enforced", None, Reconnect, "administrator has to allow"),
        (Authorize, 302, "admin_policy_enforced", None, Reconnect, "administrator has to allow"),
        (Authorize, 302, "access_denied", None, Reconnect, "declined"),
        (Authorize, 302, "server_error", None, Retry, "tried again"),
        (Refresh, 408, "", None, Retry, "tried again"),
        (Refresh, 429, "rate_limit_exceeded", None, Retry, "tried again"),
        (Refresh, 500, "internal_failure", None, Retry, "tried again"),
        (Refresh, 400, "internal_failure", None, Retry, "tried again"),
        (Refresh, 400, "temporarily_unavailable", None, Retry, "tried again"),
        (Refresh, 503, "", None, Retry, "tried again"),
        (Refresh, 400, "slow_down", None, Retry, "tried again"),
        (Refresh, 400, "server_error", None, Retry, "tried again"),
        (Authorize, 302, "temporarily_unavailable", None, Retry, "tried again"),
        (Refresh, 400, "interaction_required", None, Reconnect, "connect the account again"),
        (Refresh, 400, "login_required", None, Reconnect, "connect the account again"),
        (Refresh, 400, "consent_required", None, Reconnect, "connect the account again"),
        (Refresh, 400, "expired_token", None, Reconnect, "connect the account again"),
        (Authorize, 302, "interaction_required", None, Reconnect, "declined"),
        (Authorize, 302, "login_required", None, Reconnect, "declined"),
        (Authorize, 302, "account_selection_required", None, Reconnect, "declined"),
        (Authorize, 302, "unsupported_response_type", None, Operator, "form of the request"),
        (Refresh, 403, "insufficient_scope", None, Permission, "add the permission"),
        (Refresh, 400, "invalid_target", None, Operator, "form of the request"),
        (Refresh, 400, "use_dpop_nonce", None, Operator, "form of the request"),
        // A server out of order must not cost a grant.
        (Refresh, 500, "invalid_grant", None, Retry, "tried again"),
        (Refresh, 429, "invalid_grant", None, Retry, "tried again"),
        (Refresh, 302, "", None, Retry, "never followed"),
        (Refresh, 403, "", None, Retry, "proxy"),
        (Revoke, 400, "invalid_request", None, Operator, "form of the request"),
        (Revoke, 503, "", None, Retry, "tried again"),
        (Keys, 404, "", None, Retry, "endpoint_base"),
        (OWN, 400, "invalid_grant", None, Operator, "service-account add"),
        (OWN, 401, "unauthorized_client", None, Operator, "administrator of its project"),
        (OWN, 400, "invalid_scope", None, Operator, "`google-sa` capabilities"),
        (OWN, 401, "invalid_client", None, Operator, "any more"),
        (OWN, 400, "never_seen", None, Operator, "no more than this"),
        (OWN, 503, "", None, Retry, "tried again"),
        (OWN, 500, "invalid_grant", None, Retry, "tried again"),
        (DELEGATED, 400, "invalid_grant", None, Operator, "person that it acts for"),
        (DELEGATED, 401, "unauthorized_client", None, Operator, "domain's administrator"),
        (DELEGATED, 400, "access_denied", None, Operator, "domain's administrator"),
        (Userinfo, 401, "unauthenticated", None, Reconnect, "`openid`"),
        (Userinfo, 403, "", None, Reconnect, "`openid`"),
        (Userinfo, 503, "", None, Retry, "tried again"),
        // A limit says nothing about what was granted.
        (Userinfo, 403, "rateLimitExceeded", None, Retry, "tried again"),
        (Userinfo, 403, "userRateLimitExceeded", None, Retry, "tried again"),
        (Userinfo, 403, "RESOURCE_EXHAUSTED", None, Retry, "tried again"),
        (Userinfo, 403, "SERVICE_DISABLED", None, Operator, "not enabled"),
        (Userinfo, 403, "accessNotConfigured", None, Operator, "not enabled"),
        (Refresh, 403, "RATE_LIMIT_EXCEEDED", None, Retry, "tried again"),
        (Refresh, 200, "quotaExceeded", None, Retry, "tried again"),
        (Refresh, 403, "service_disabled", None, Operator, "not enabled"),
        (Refresh, 401, "disabled_client", None, Operator, "is disabled"),
        (OWN, 401, "disabled_client", None, Operator, "any more"),
        (Refresh, 407, "", None, Operator, "wants a name and a password"),
        (Keys, 407, "", None, Operator, "wants a name and a password"),
    ];

    #[test]
    fn every_row_of_the_contract_says_who_acts() {
        for &(call, status, error, subtype, kind, words) in ROWS {
            let &Failure {
                kind: found,
                sentence,
                ..
            } = classify(
                call,
                status,
                Said {
                    subtype,
                    ..Said::code(error)
                },
            );
            let row = format!("{call:?} {status} {error} {subtype:?}");
            assert_eq!(found, kind, "{row}");
            assert!(sentence.contains(words), "{row}: {sentence}");
            assert!(
                sentence.ends_with('.') && !sentence.contains("  "),
                "{row}: {sentence}"
            );
        }
    }

    #[test]
    fn a_grant_that_dies_after_a_week_names_testing_mode() {
        let connected = "2024-01-15T10:30:00Z".parse().unwrap();
        let hint = |failed: &str| testing_mode_hint(connected, failed.parse().unwrap());
        assert!(hint("2024-01-22T10:29:59Z").unwrap().contains("Testing mode"));
        assert!(hint("2024-01-22T11:30:00Z").is_some());
        assert!(hint("2024-01-23T10:30:00Z").is_some());
        assert!(hint("2024-01-22T09:00:00Z").is_none());
        assert!(hint("2024-01-23T10:30:01Z").is_none());
        assert!(hint("2024-01-01T00:00:00Z").is_none());
    }
}
