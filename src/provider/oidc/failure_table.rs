//! What the standards let a server answer instead of what was asked for (RFC 6749, sections 4.1.2.1 and 5.2; `OpenID`
//! Connect Core 1.0, section 3.1.2.6; RFC 6750, section 3.1).

use crate::provider::{
    failure::{Call, Failure, FailureTable, Remedy, Sign},
    help_topics::HelpTopics,
};

const BUSY: &str = "{provider} is busy or out of order.";

/// What a consent that was declined may be due to, and what to do.
pub(super) const DECLINED: &str = "The consent was declined at {provider}, or the account may not use this app. Connect again and allow it.";

/// What people read where it goes wrong in another way.
pub(crate) static TOPICS: HelpTopics = HelpTopics {
    declined: "server-consent-declined",
    nothing_granted: "server-lacks-permission",
    no_refresh_token: "server-gives-no-lasting-permission",
    identity_unproven: UNUSABLE,
    unusable_answer: UNUSABLE,
    no_connection: "server-busy",
    certificate: UNUSABLE,
    proxy_credentials: PROXY,
};

const UNUSABLE: &str = "server-answer-unusable";
const PROXY: &str = "server-behind-proxy";

/// The rows, the first that counts first.
pub(crate) static FAILURES: FailureTable = {
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
            PROXY,
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
            "{provider} does not say whose this grant is. The owner has to consent with `openid`; `token-broker connect` \
             asks for it.",
        ),
        Failure::of(
            "server-ended-access",
            &[Exchange],
            Error(&["invalid_grant"]),
            Reconnect,
            "{provider} did not accept the authorization code: it was used before, it is too old, or it belongs to \
             another client or redirect address. Begin the connection again.",
        ),
        Failure::of(
            "server-consent-declined",
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
            "{provider} no longer accepts this grant: it was revoked, it expired, or it was used elsewhere. The owner \
             has to connect the account again.",
        ),
        Failure::of(
            "server-lacks-permission",
            &[],
            Error(&["invalid_scope", "insufficient_scope"]),
            Permission,
            "A scope was asked for that this account did not grant, or that {provider} does not know. The owner has to \
             add the permission.",
        ),
        Failure::of(
            UNUSABLE,
            &[],
            Redirected,
            Retry,
            "The answer for {provider} is a redirect, which is never followed with secrets: a proxy or a captive portal may stand \
             between.",
        ),
        Failure::of(
            UNUSABLE,
            &[],
            Silent,
            Retry,
            "The answer for {provider} is not one that an OAuth server gives: a proxy may stand between, or the provider's `issuer` may \
             be wrong.",
        ),
        Failure::of(
            "proof-refused",
            &[],
            Error(&["invalid_dpop_proof"]),
            Operator,
            "{provider} does not accept the proof of the key that this grant is bound to (DPoP): mostly a clock is wrong, \
             this machine's or one on the way. Set this machine's clock; where it is right, take `dpop = true` away from \
             the provider's settings and have the owner connect the account again.",
        ),
        Failure::of(
            "proof-nonce",
            &[],
            Error(&["use_dpop_nonce"]),
            Retry,
            "{provider} asked for another nonce in the proof of this grant's key (DPoP), also when it had the one that it \
             had asked for.",
        ),
        Failure::of(
            "server-refuses-client",
            &[],
            Error(&["invalid_client", "unauthorized_client"]),
            Operator,
            "{provider} does not know this OAuth client, its secret is wrong, or it may not do this. Compare the \
             provider's `client_id` and its secret with what the server has.",
        ),
        Failure::of(
            "server-refuses-client",
            &[],
            Other,
            Operator,
            "{provider} refused, and says no more than this. Look at this client's registration there, at its redirect \
             address above all.",
        ),
    ])
};
