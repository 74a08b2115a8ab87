//! The table of failures: what the provider may answer, who can act, and the sentence that every surface shows.

use super::failure::{Call, DECLINED, Failure, FailureKind, Sign};

/// A service account that speaks for itself, and one that acts for a person.
const ITSELF: Call = Call::Assertion { delegated: false };
const DELEGATED: Call = Call::Assertion { delegated: true };

const BUSY: &str = "Google is busy or out of order. It is tried again.";

/// What Google may answer instead of what was asked for, by the contract: the first row that fits counts, and the
/// last one fits always. A static: a row is the same wherever it is looked at. `FAILURES.md` shows it to people.
pub static FAILURES: &[Failure] = {
    use Call::{Authorize, Exchange, Userinfo};
    use FailureKind::{Operator, Permission, Reconnect, Retry};
    use Sign::{Busy, Error, Other, Reason, Redirected, Silent, Status, Subtype};
    &[
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
             stand between. It is tried again.",
        ),
        Failure::of(
            "not-google",
            &[],
            Silent,
            Retry,
            "The answer is not one that Google gives: a proxy may stand between, or `google.endpoint_base` may be \
             wrong. It is tried again.",
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
                "invalid_dpop_proof",
                "use_dpop_nonce",
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
    ]
};
