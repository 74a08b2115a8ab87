//! What is said of a failure at the provider: one place, beside the table of failures.

use jiff::Timestamp;

use super::failure::{Failure, Remedy};
use crate::{
    cause::{
        DiscoveryFault, IdTokenFault, IdTokenForm, ProviderCause, Refusal, TokenAnswerFault, UnusableAnswer,
    },
    clock, dpop,
    http_client::TransportError,
};

/// Who tries again what may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    /// The broker does, as renewals and revocations are.
    ByItself,
    /// Whoever asked has to.
    ByHand,
}

impl Retried {
    /// How a sentence ends about what may pass.
    pub(in crate::provider) fn sentence(self) -> &'static str {
        match self {
            Self::ByItself => "It is tried again.",
            Self::ByHand => "Try it again in a while.",
        }
    }
}

/// Where a row's sentence names the provider that its table serves.
const NAMED: &str = "{provider}";

/// A row's sentence of the provider of this name.
pub(in crate::provider) fn naming(provider: &str, sentence: &str) -> String {
    sentence.replace(NAMED, provider)
}

/// What a row says of the provider of this name.
pub fn row(failure: &Failure, provider: &str, retried: Retried) -> String {
    let said = naming(provider, failure.sentence);
    match failure.kind {
        Remedy::Retry => format!("{said} {}", retried.sentence()),
        Remedy::Reconnect | Remedy::Operator | Remedy::Permission => said,
    }
}

/// A row that recognizes a refusal, and the name of the provider that refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognized {
    /// The row.
    pub row: &'static Failure,
    /// Whose refusal it is, in sentences.
    pub provider: Box<str>,
}

/// What is wrong and what to do. `known` is what a refusal is recognized by.
pub(crate) fn provider(cause: &ProviderCause, known: Option<&Recognized>, retried: Retried) -> String {
    let recognized = |said: String| match known {
        Some(known) => format!("{} ({said})", row(known.row, &known.provider, retried)),
        None => format!("The provider refused. ({said})"),
    };
    match cause {
        ProviderCause::NoAnswer { host, error } => no_answer(host, error, retried),
        ProviderCause::Refused(refusal) => recognized(refused(refusal)),
        ProviderCause::ConsentRefused { error, description } => {
            recognized(quote(error, description.as_deref()))
        }
        ProviderCause::Unusable(answer) => unusable(answer, retried),
        ProviderCause::IdToken(fault) => id_token(fault),
        ProviderCause::NoRevocationEndpoint => "The server has no revocation endpoint (RFC 7009).".to_owned(),
        ProviderCause::KeyUnusable { account, fault } => {
            format!("The key of {account} cannot be used: {fault}.")
        }
        ProviderCause::Discovery(fault) => discovery(fault),
    }
}

/// Why no answer came from `host`, whoever that is.
pub fn no_answer(host: &str, error: &TransportError, retried: Retried) -> String {
    let said = error.sentence(host);
    if error.may_pass() {
        format!("{said} {}", retried.sentence())
    } else {
        said
    }
}

fn refused(refusal: &Refusal) -> String {
    let status = refusal.status;
    match refusal.codes() {
        Some(codes) => format!("HTTP {status}, {}", quote(&codes, refusal.description.as_deref())),
        None => format!("HTTP {status}"),
    }
}

fn quote(code: &str, description: Option<&str>) -> String {
    match description {
        Some(words) if !words.is_empty() => format!("{code}: {words}"),
        _ => code.to_owned(),
    }
}

fn unusable(answer: &UnusableAnswer, retried: Retried) -> String {
    let what = match answer {
        UnusableAnswer::Token { host, fault } => {
            format!(
                "The token answer of {host} cannot be used: {}",
                token_answer(fault)
            )
        }
        UnusableAnswer::NoOwner { host } => {
            format!("The answer of {host} does not say whose the grant is")
        }
        UnusableAnswer::NoRevocation { host, status } => {
            format!("What answered for {host} (status {status}) is no revocation endpoint")
        }
        UnusableAnswer::NoKeys { host } => format!("The answer of {host} is not a set of signing keys"),
        UnusableAnswer::NoEventIssuer { host } => {
            format!("The answer of {host} does not name an issuer of security events with its keys")
        }
        UnusableAnswer::NoDiscovery { url, status } => {
            format!("What answers at {url} has the status {status}")
        }
        UnusableAnswer::KeysCutOff => "The published keys were not read to the end".to_owned(),
        UnusableAnswer::KeyTooSoon => {
            "The key is not among those that were read less than a minute ago".to_owned()
        }
        UnusableAnswer::NoProvider { provider } => {
            format!("There is no provider `{provider}` that grants belong to")
        }
    };
    if answer.is_bound_token() {
        return format!("{what}.");
    }
    let again = retried.sentence();
    if may_be_anothers(answer) {
        format!("{what}. A proxy may stand between. {again}")
    } else {
        format!("{what}. {again}")
    }
}

/// Whether somebody else may have answered in the provider's place.
fn may_be_anothers(answer: &UnusableAnswer) -> bool {
    match answer {
        UnusableAnswer::Token { fault, .. } => {
            matches!(
                fault,
                TokenAnswerFault::NoObject | TokenAnswerFault::NoAccessToken
            )
        }
        UnusableAnswer::KeysCutOff | UnusableAnswer::KeyTooSoon => false,
        _ => true,
    }
}

fn token_answer(fault: &TokenAnswerFault) -> String {
    match fault {
        TokenAnswerFault::NoObject => "it is not a JSON object".to_owned(),
        TokenAnswerFault::NoAccessToken => "it is not a JSON object with an `access_token`".to_owned(),
        TokenAnswerFault::AccessToken => "its `access_token` is not of the form of RFC 6750".to_owned(),
        TokenAnswerFault::TokenType(kind) if kind.eq_ignore_ascii_case("dpop") => format!(
            "its `token_type` is `{kind}`: the server binds access tokens to the broker's key as well, and no agent could use \
             them. Have it bind refresh tokens alone, or take `dpop = true` away from the provider's settings"
        ),
        TokenAnswerFault::TokenType(kind) => format!("its `token_type` is `{kind}`, not `Bearer`"),
        TokenAnswerFault::Life(life) => {
            format!("its `expires_in` is `{life}`, not a positive number of seconds")
        }
    }
}

fn id_token(fault: &IdTokenFault) -> String {
    match fault {
        IdTokenFault::Unreadable(form) => again(id_token_form(*form)),
        IdTokenFault::Signature => again("has a wrong signature"),
        IdTokenFault::MissingClaim(name) => again(&format!("lacks the claim `{name}`")),
        IdTokenFault::OtherConsent => again("belongs to another consent"),
        IdTokenFault::NoSubject => again("does not say whose it is"),
        IdTokenFault::OtherIssuer {
            found,
            expected,
            setting,
        } => {
            let expected = expected.join("` or `");
            format!("The id token comes from the issuer `{found}`, not from `{expected}`; check `{setting}`.")
        }
        IdTokenFault::OtherClient {
            found,
            expected,
            setting,
        } => format!(
            "The id token is meant for the OAuth client `{found}`, not for `{expected}`; check `{setting}`."
        ),
        IdTokenFault::Expired { at, now } => differs("expired at", *at, *now),
        IdTokenFault::IssuedLater { at, now } => differs("was issued in the future, at", *at, *now),
        IdTokenFault::UnknownKey { provider, setting } => format!(
            "The id token is signed with a key that {provider} does not publish. Begin the connection again; if it stays \
             so, check `{setting}`."
        ),
        IdTokenFault::ShortKey {
            bits,
            needed,
            setting,
        } => format!(
            "The id token is signed with an RSA key of {bits} bits, and RS256 takes {needed} at the least (RFC 7518, \
             section 3.3). The OAuth server at `{setting}` needs a longer key."
        ),
        IdTokenFault::OtherServer { found, expected } => other_server(found.as_deref(), expected),
        IdTokenFault::NoUserinfoEndpoint => {
            "The server has no endpoint that says whose an access token is, and its \
                                             answer came without an id token."
                .to_owned()
        }
    }
}

fn id_token_form(form: IdTokenForm) -> &'static str {
    match form {
        IdTokenForm::TooLong => "is longer than any provider's",
        IdTokenForm::NoJwt => "is not a JWT",
        IdTokenForm::Unsigned => "is not signed",
        IdTokenForm::Algorithm => "is not signed with RS256",
        IdTokenForm::Critical => "demands an extension that is not understood",
        IdTokenForm::NoKey => "does not name its key",
        IdTokenForm::NoClaims => "holds no claims",
    }
}

fn again(what: &str) -> String {
    format!("The id token {what}. Begin the connection again.")
}

fn differs(what: &str, at: i64, now: Timestamp) -> String {
    let at = Timestamp::from_second(at).map_or_else(|_| at.to_string(), clock::rfc3339);
    format!(
        "The id token {what} {at}, and it is {} here; check this machine's clock.",
        clock::rfc3339(now)
    )
}

fn other_server(found: Option<&str>, expected: &[String]) -> String {
    let found = found.map_or_else(|| "nobody".to_owned(), |issuer| format!("`{issuer}`"));
    format!(
        "The browser came back with an answer of {found}, not of `{}`, so the code was sent to nobody. Begin the \
         connection again.",
        expected.join("` or `")
    )
}

fn discovery(fault: &DiscoveryFault) -> String {
    let what = match fault {
        DiscoveryFault::Document { url, reason } => {
            format!("The document at {url} cannot be used: {reason}")
        }
        DiscoveryFault::OtherIssuer { issuer, found } => {
            format!("The document of {issuer} is that of the issuer `{found}`, so it is not used")
        }
        DiscoveryFault::NoProofs { issuer } => {
            return format!(
                "The document of {issuer} does not say that the server takes proofs of a key (DPoP) that are signed with \
                 {}. Take `dpop = true` away from the provider's settings, or have the server take them.",
                dpop::ALGORITHM
            );
        }
        DiscoveryFault::OpenEndpoint { issuer, endpoint } => format!(
            "The document of {issuer} names the endpoint {endpoint}, which is not plain HTTPS, so it is not used"
        ),
    };
    format!("{what}. Compare the provider's `issuer` with what the server's documentation says.")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::provider::{
        failure::Sign,
        google::failure_table::FAILURES,
        oauth::{refused_consent, testing::dialect},
        oidc,
    };

    fn said(cause: &ProviderCause) -> String {
        provider(cause, None, Retried::ByItself)
    }

    #[test]
    fn who_waits_for_an_answer_is_told_what_keeps_it_away() {
        let no_answer = |error| {
            let host = "h".to_owned();
            said(&ProviderCause::NoAnswer { host, error })
        };
        let text = |text: &str| text.to_owned();
        for (error, sentence) in [
            (
                TransportError::NoRoots(text("r")),
                "No certificate authorities to check h with: install the system's `ca-certificates` or name a bundle \
                 with SSL_CERT_FILE (r).",
            ),
            (
                TransportError::Certificate(text("r")),
                "The TLS certificate of h was not accepted: r. A proxy may stand between, its authority may be unknown \
                 here, or this machine's clock may be wrong. It is tried again.",
            ),
            (
                TransportError::NoConnection,
                "h took no connection in time. It is tried again.",
            ),
            (
                TransportError::Timeout(Duration::from_millis(100)),
                "h did not answer within 100ms. It is tried again.",
            ),
            (
                TransportError::TooLarge(7),
                "h sent more than 7 bytes, more than any answer of use has. It is tried again.",
            ),
            (
                TransportError::Encoding(text("br")),
                "h sent an answer that is compressed as `br`, although it was asked not to compress it: a proxy may \
                 stand between. It is tried again.",
            ),
            (
                TransportError::ProxyCredentials(text("r")),
                "h cannot be reached: r. Give them to the daemon in HTTPS_PROXY, as http://NAME:PASSWORD@HOST:PORT.",
            ),
            (
                TransportError::Network(text("r")),
                "h cannot be reached: r. It is tried again.",
            ),
        ] {
            assert_eq!(no_answer(error), sentence);
        }
    }

    #[test]
    fn an_answer_of_no_use_is_blamed_on_a_proxy_only_where_it_may_be_anothers() {
        let unusable = |answer| said(&ProviderCause::Unusable(answer));
        let token = |fault| {
            let host = "h".to_owned();
            unusable(UnusableAnswer::Token { host, fault })
        };
        assert_eq!(
            token(TokenAnswerFault::NoObject),
            "The token answer of h cannot be used: it is not a JSON object. A proxy may stand between. It is tried again."
        );
        assert_eq!(
            token(TokenAnswerFault::AccessToken),
            "The token answer of h cannot be used: its `access_token` is not of the form of RFC 6750. It is tried again."
        );
        assert_eq!(
            unusable(UnusableAnswer::KeyTooSoon),
            "The key is not among those that were read less than a minute ago. It is tried again."
        );
        let (host, status) = ("h".to_owned(), 204);
        assert_eq!(
            unusable(UnusableAnswer::NoRevocation { host, status }),
            "What answered for h (status 204) is no revocation endpoint. A proxy may stand between. It is tried again."
        );
    }

    #[test]
    fn an_id_token_that_proves_nothing_says_who_can_act() {
        let id_token = |fault| said(&ProviderCause::IdToken(fault));
        assert_eq!(
            id_token(IdTokenFault::MissingClaim("sub".to_owned())),
            "The id token lacks the claim `sub`. Begin the connection again."
        );
        let now = "2024-01-15T10:30:00Z".parse().unwrap();
        assert_eq!(
            id_token(IdTokenFault::Expired {
                at: 1_705_000_000,
                now
            }),
            "The id token expired at 2024-01-11T19:06:40Z, and it is 2024-01-15T10:30:00Z here; check this machine's \
             clock."
        );
        let expected = vec!["https://a.example".to_owned(), "a.example".to_owned()];
        assert_eq!(
            id_token(IdTokenFault::OtherServer {
                found: None,
                expected
            }),
            "The browser came back with an answer of nobody, not of `https://a.example` or `a.example`, so the code was \
             sent to nobody. Begin the connection again."
        );
    }

    #[test]
    fn a_row_leaves_it_to_this_file_to_say_who_tries_again() {
        for failure in FAILURES.rows() {
            assert!(!failure.sentence.contains("ried again"), "{}", failure.sentence);
            let passes = failure.kind == Remedy::Retry;
            for retried in [Retried::ByItself, Retried::ByHand] {
                assert_eq!(
                    row(failure, "Google", retried).ends_with(retried.sentence()),
                    passes
                );
            }
        }
    }

    #[test]
    fn each_row_names_the_provider_whose_answer_it_is() {
        for failure in oidc::failure_table::FAILURES.rows() {
            let said = row(failure, "Acme", Retried::ByItself);
            // A proxy's answer is not the provider's.
            assert_eq!(
                said.contains("Acme"),
                failure.sign != Sign::Status(&[407]),
                "{said}"
            );
            assert!(!said.contains("The server") && !said.contains('{'), "{said}");
        }
    }

    #[test]
    fn the_words_of_a_provider_are_left_as_they_are() {
        let words = "It is tried again.";
        let error = refused_consent(&dialect(), "server_error", Some(words));
        assert_eq!(
            error.sentence(Retried::ByHand),
            "Google is busy or out of order. Try it again in a while. (server_error: It is tried again.)"
        );
    }
}
