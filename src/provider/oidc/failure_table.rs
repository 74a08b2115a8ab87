//! What the standards let a server answer instead of what was asked for (RFC 6749, sections 4.1.2.1 and 5.2; `OpenID`
//! Connect Core 1.0, section 3.1.2.6; RFC 6750, section 3.1).

use crate::provider::failure::{Call, Failure, FailureTable, Remedy, Sign};

const BUSY: &str = "The server is busy or out of order.";

/// The rows, the first that counts first.
pub(super) static FAILURES: FailureTable = {
    use Call::{Authorize, Exchange, Userinfo};
    use Remedy::{Operator, Permission, Reconnect, Retry};
    use Sign::{Busy, Error, Other, Reason, Redirected, Silent, Status};
    FailureTable::new(&[
        Failure::of("server-busy", &[], Busy, Retry, BUSY),
        Failure::of(
            "server-busy",
            &[],
            Reason(&[
                "server_error",
                "temporarily_unavailable",
                "slow_down",
                "rate_limited",
            ]),
            Retry,
            BUSY,
        ),
        Failure::of(
            "proxy-credentials",
            &[],
            Status(&[407]),
            Operator,
            "A proxy on the way wants a name and a password. Give them to the daemon in HTTPS_PROXY, as \
             http://NAME:PASSWORD@HOST:PORT.",
        ),
        Failure::of(
            "server-ended-access",
            &[Userinfo],
            Status(&[401, 403]),
            Reconnect,
            "This grant does not say whose it is. The owner has to consent with `openid`; `token-broker connect` asks \
             for it.",
        ),
        Failure::of(
            "server-ended-access",
            &[Exchange],
            Error(&["invalid_grant"]),
            Reconnect,
            "The server did not accept the authorization code: it was used before, it is too old, or it belongs to \
             another client or redirect address. Begin the connection again.",
        ),
        Failure::of(
            "server-ended-access",
            &[Authorize],
            Error(&[
                "access_denied",
                "interaction_required",
                "login_required",
                "consent_required",
                "account_selection_required",
            ]),
            Reconnect,
            "The consent was declined, or the account may not use this app. Connect again and allow it.",
        ),
        Failure::of(
            "server-ended-access",
            &[],
            Error(&[
                "invalid_grant",
                "access_denied",
                "interaction_required",
                "login_required",
                "consent_required",
            ]),
            Reconnect,
            "The server no longer accepts this grant: it was revoked, it expired, or it was used elsewhere. The owner \
             has to connect the account again.",
        ),
        Failure::of(
            "server-lacks-permission",
            &[],
            Error(&["invalid_scope", "insufficient_scope"]),
            Permission,
            "A scope was asked for that this account did not grant, or that the server does not know. The owner has to \
             add the permission.",
        ),
        Failure::of(
            "answer-redirected",
            &[],
            Redirected,
            Retry,
            "The answer is a redirect, which is never followed with secrets: a proxy or a captive portal may stand \
             between.",
        ),
        Failure::of(
            "server-busy",
            &[],
            Silent,
            Retry,
            "The answer is not one that an OAuth server gives: a proxy may stand between, or the provider's `issuer` may \
             be wrong.",
        ),
        Failure::of(
            "server-refuses-client",
            &[],
            Error(&["invalid_client", "unauthorized_client"]),
            Operator,
            "The server does not know this OAuth client, its secret is wrong, or it may not do this. Compare the \
             provider's `client_id` and its secret with what the server has.",
        ),
        Failure::of(
            "server-refuses-client",
            &[],
            Other,
            Operator,
            "The server refused, and says no more than this. Look at this client's registration there, at its redirect \
             address above all.",
        ),
    ])
};
