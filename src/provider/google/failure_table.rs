//! Google's failures: what it may answer, who can act, and the sentence that every surface shows.

use jiff::{SignedDuration, Timestamp};

use crate::provider::failure::{Call, Failure, FailureTable, Remedy, Sign};

/// What a consent that was declined may be due to.
pub(crate) const DECLINED: &str = "The consent was declined, or the account may not use this app. Connect again and \
    allow it; if the app is in Testing mode, the operator has to add the account to its test users.";

/// What the end of a grant after seven days means.
pub(crate) const TESTING_MODE: &str = "This grant ended seven days after it was connected: that is what Google does while \
    the project's OAuth consent screen is in Testing mode. The operator has to publish the app on the consent \
    screen's page; then the owner connects once more.";

/// A service account that speaks for itself, and one that acts for a person.
const ITSELF: Call = Call::Assertion { delegated: false };
const DELEGATED: Call = Call::Assertion { delegated: true };

const BUSY: &str = "Google is busy or out of order.";

/// What Google may answer instead of what was asked for, by the contract: the first row that fits counts, and the
/// last one fits always. A static: a row is the same wherever it is looked at. `FAILURES.md` shows it to people.
pub static FAILURES: FailureTable = {
    use Call::{Authorize, Exchange, Userinfo};
    use Remedy::{Operator, Permission, Reconnect, Retry};
    use Sign::{Busy, Error, Other, Reason, Redirected, Silent, Status, Subtype};
    FailureTable::new(&[
        Failure::of("google-busy", &[], Busy, Retry, BUSY),
        Failure::of(
            "google-busy",
            &[],
            Reason(&[
                "internal_failure",
                "internal_error",
                "internal",
                "server_error",
                "backend_error",
                "temporarily_unavailable",
                "unavailable",
                "slow_down",
                "too_many_requests",
                "rate_limited",
                "rateLimitExceeded",
                "userRateLimitExceeded",
                "quotaExceeded",
                "dailyLimitExceeded",
                "RESOURCE_EXHAUSTED",
            ]),
            Retry,
            BUSY,
        ),
        Failure::of(
            "service-disabled",
            &[],
            Reason(&[
                "SERVICE_DISABLED",
                "accessNotConfigured",
                "CONSUMER_SUSPENDED",
                "BILLING_DISABLED",
            ]),
            Operator,
            "An API that was asked is not enabled in the Google Cloud project of this OAuth client, or the project was \
             suspended. Enable the API there, or look at the project's billing.",
        ),
        Failure::of(
            "proxy-credentials",
            &[],
            Status(&[407]),
            Operator,
            "A proxy on the way to Google wants a name and a password. Give them to the daemon in HTTPS_PROXY, as \
             http://NAME:PASSWORD@HOST:PORT.",
        ),
        Failure::of(
            "delegation-missing",
            &[DELEGATED],
            Error(&["unauthorized_client", "access_denied"]),
            Operator,
            "The domain's administrator has not delegated these scopes to this service account: in the Admin console, \
             under Security, API controls, Domain-wide delegation, the account's client id has to be listed with every \
             one of them.",
        ),
        Failure::of(
            "delegated-key-refused",
            &[DELEGATED],
            Error(&["invalid_grant"]),
            Operator,
            "Google does not accept this assertion: the key or the service account was deleted or disabled there, the \
             person that it acts for does not exist, or this machine's clock is wrong. Add a new key with \
             `token-broker service-account add`, or correct the address.",
        ),
        Failure::of(
            "service-account-key-refused",
            &[ITSELF],
            Error(&["invalid_grant"]),
            Operator,
            "Google does not accept this service account's key: the key or the account was deleted or disabled there, or \
             this machine's clock is wrong. Create a new key in the Google Cloud console and add it with `token-broker \
             service-account add`.",
        ),
        Failure::of(
            "service-account-not-allowed",
            &[ITSELF, DELEGATED],
            Error(&["unauthorized_client", "access_denied", "admin_policy_enforced"]),
            Operator,
            "Google does not let this service account have tokens: an administrator of its project or organisation has \
             to allow it.",
        ),
        Failure::of(
            "service-account-scope-unknown",
            &[ITSELF, DELEGATED],
            Error(&["invalid_scope"]),
            Operator,
            "Google does not know a scope that was asked for. Check the scopes of the `google-sa` capabilities that the \
             configuration adds.",
        ),
        Failure::of(
            "service-account-gone",
            &[ITSELF, DELEGATED],
            Error(&["invalid_client", "deleted_client", "disabled_client"]),
            Operator,
            "Google does not know this service account any more. Create it anew, or add the key of another one.",
        ),
        Failure::of(
            "identity-missing",
            &[Userinfo],
            Status(&[401, 403]),
            Reconnect,
            "This grant does not say whose it is: it lacks the scope `openid`, and the account's id is what a grant is \
             kept by. The owner has to consent with `openid` and `email`; `token-broker connect` asks for both.",
        ),
        Failure::of(
            "code-refused",
            &[Exchange],
            Error(&["invalid_grant"]),
            Reconnect,
            "Google did not accept the authorization code: it was used before, it is older than a few minutes, \
             or it belongs to another client or redirect address. Begin the connection again.",
        ),
        Failure::of(
            "session-ended",
            &[],
            Subtype("invalid_grant", &["invalid_rapt", "rapt_required"]),
            Reconnect,
            "The organisation's session length policy ended this grant. The owner has to connect the account \
             again; an administrator can exempt the app in the Google Cloud session control settings.",
        ),
        Failure::of(
            "consent-denied",
            &[Authorize],
            Error(&[
                "access_denied",
                "interaction_required",
                "login_required",
                "consent_required",
                "account_selection_required",
            ]),
            Reconnect,
            DECLINED,
        ),
        Failure::of(
            "grant-ended",
            &[],
            Error(&[
                "invalid_grant",
                "expired_token",
                "interaction_required",
                "login_required",
                "consent_required",
            ]),
            Reconnect,
            "Google no longer accepts this grant: it was revoked, it expired, or the account's password or \
             policy changed. The owner has to connect the account again.",
        ),
        Failure::of(
            "scope-unknown",
            &[Authorize],
            Error(&["invalid_scope"]),
            Permission,
            "Google does not know a scope that was asked for, or does not let this OAuth client ask for it.",
        ),
        Failure::of(
            "scope-not-granted",
            &[],
            Error(&["invalid_scope", "insufficient_scope"]),
            Permission,
            "A scope was asked for that this account did not grant. The owner has to add the permission.",
        ),
        Failure::of(
            "blocked-by-organisation",
            &[],
            Error(&["access_denied", "admin_policy_enforced"]),
            Reconnect,
            "The account's organisation restricts this app. Its administrator has to allow the app for this \
             account; then the owner connects again.",
        ),
        Failure::of(
            "answer-redirected",
            &[],
            Redirected,
            Retry,
            "The answer is a redirect, which is never followed with secrets: a proxy or a captive portal may \
             stand between.",
        ),
        Failure::of(
            "not-google",
            &[],
            Silent,
            Retry,
            "The answer is not one that Google gives: a proxy may stand between, or `google.endpoint_base` may be \
             wrong.",
        ),
        Failure::of(
            "client-unknown",
            &[],
            Error(&["invalid_client"]),
            Operator,
            "Google does not know this OAuth client, or its secret is wrong. Check `google.client_id` and the \
             client secret against the Credentials page of the Google Cloud project.",
        ),
        Failure::of(
            "client-deleted",
            &[],
            Error(&["deleted_client"]),
            Operator,
            "This OAuth client was deleted. Create a new one in the Google Cloud project and configure it; every \
             account has to be connected again.",
        ),
        Failure::of(
            "client-disabled",
            &[],
            Error(&["disabled_client"]),
            Operator,
            "This OAuth client is disabled. Enable it on the Credentials page of the Google Cloud project; what was \
             connected works again then.",
        ),
        Failure::of(
            "client-not-allowed",
            &[],
            Error(&["unauthorized_client"]),
            Operator,
            "This OAuth client may not do this, or the grant belongs to another client. Check `google.client_id` and \
             `google.client_type`.",
        ),
        Failure::of(
            "redirect-address",
            &[],
            Error(&["redirect_uri_mismatch"]),
            Operator,
            "The redirect address is not registered. Add `<public_url>/oauth/callback`, exactly as configured, to \
             the OAuth client's authorized redirect URIs.",
        ),
        Failure::of(
            "internal-app",
            &[],
            Error(&["org_internal"]),
            Operator,
            "The app is internal to another organisation. Set the consent screen's user type to External, or \
             connect an account of that organisation.",
        ),
        Failure::of(
            "embedded-browser",
            &[],
            Error(&["disallowed_useragent"]),
            Operator,
            "Google does not show its consent page inside this browser. Open the link in a full browser.",
        ),
        Failure::of(
            "proof-refused",
            &[],
            Error(&["invalid_dpop_proof"]),
            Operator,
            "Google does not accept the proof of the key that this grant is bound to (DPoP): mostly a clock is wrong, this \
             machine's or one on the way. Set this machine's clock; where it is right, set `google.dpop` to false and \
             have the owner connect the account again.",
        ),
        Failure::of(
            "proof-nonce",
            &[],
            Error(&["use_dpop_nonce"]),
            Retry,
            "Google asked for another nonce in the proof of this grant's key (DPoP), also when it had the one that it had \
             asked for.",
        ),
        Failure::of(
            "request-refused",
            &[],
            Error(&[
                "unsupported_grant_type",
                "unsupported_response_type",
                "invalid_request",
                "invalid_request_object",
                "invalid_request_uri",
                "invalid_target",
                "request_not_supported",
                "request_uri_not_supported",
            ]),
            Operator,
            "Google refused the form of the request. Check that `google.client_type` is the client's real type and \
             that the client secret is configured.",
        ),
        Failure::of(
            "refused",
            &[],
            Other,
            Operator,
            "Google refused, and says no more than this. Check the OAuth client in the Google Cloud project.",
        ),
    ])
};

/// The sentence about the consent screen's Testing mode, for a grant that ended about seven days after it
/// was connected. The failure is seen at the next renewal, so up to a day later.
pub fn testing_mode_hint(connected_at: Timestamp, failed_at: Timestamp) -> Option<&'static str> {
    const HOUR: i64 = 3600;
    const WEEK: i64 = 7 * 24 * HOUR;
    let lived = failed_at.duration_since(connected_at);
    let window = SignedDuration::from_secs(WEEK - HOUR)..=SignedDuration::from_secs(WEEK + 24 * HOUR);
    window.contains(&lived).then_some(TESTING_MODE)
}

#[cfg(test)]
mod tests {
    use Call::{Authorize, Exchange, Keys, Refresh, Revoke, Userinfo};
    use Remedy::{Operator, Permission, Reconnect, Retry};

    use super::*;
    use crate::provider::{Retried, failure::Said, sentences};

    const OWN: Call = Call::Assertion { delegated: false };
    const DELEGATED: Call = Call::Assertion { delegated: true };

    type Row = (
        Call,
        u16,
        &'static str,
        Option<&'static str>,
        Remedy,
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
        (Refresh, 400, "use_dpop_nonce", None, Retry, "another nonce"),
        (Exchange, 400, "use_dpop_nonce", None, Retry, "tried again"),
        (Refresh, 400, "invalid_dpop_proof", None, Operator, "this machine's clock"),
        (Exchange, 400, "invalid_dpop_proof", None, Operator, "`google.dpop`"),
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
            let failure = FAILURES.classify(
                call,
                status,
                Said {
                    subtype,
                    ..Said::code(error)
                },
            );
            let row = format!("{call:?} {status} {error} {subtype:?}");
            assert_eq!(failure.kind, kind, "{row}");
            let sentence = sentences::row(failure, "Google", Retried::ByItself);
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
