//! What the person's browser brings back from the consent (RFC 6749, section 4.1.2).

use url::form_urlencoded;

use crate::{
    provider::code,
    secret::{AuthorizationCode, StateToken},
    text::scrub::scrub,
};

/// Longer values are refused: Google's codes and our states are far shorter.
const MAX_VALUE: usize = 4096;
/// The whole query, unknown parameters included.
const MAX_QUERY: usize = 16 * 1024;

/// A redirect that has the form of one. No `Debug`: it holds secrets.
pub struct Redirect {
    /// Which consent it belongs to.
    pub state: StateToken,
    /// How that ended.
    pub outcome: Outcome,
}

/// How a consent ended.
pub enum Outcome {
    /// The person consented, to some of it at least.
    Code {
        /// To be exchanged once, within minutes.
        code: AuthorizationCode,
        /// Who says that it comes from them (RFC 9207).
        issuer: Option<String>,
    },
    /// The person declined, or the provider refused.
    Error {
        /// The provider's code, such as `access_denied`; `unknown_error` when it has not the form of one.
        error: String,
        /// The provider's words: at most 200 printable characters.
        description: Option<String>,
    },
}

/// A redirect that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedirect {
    /// Whoever it belongs to cannot be found.
    #[error("the address has no `state`: open the link that began the connection again")]
    NoState,
    /// Neither an answer nor an error.
    #[error("the address has neither `code` nor `error`: open the link that began the connection again")]
    NoOutcome,
    /// An answer and an error at once.
    #[error("the address has both `code` and `error`, which no provider sends")]
    Both,
    /// Somebody added to it.
    #[error("the address has `{0}` twice, which no provider sends")]
    Twice(&'static str),
    /// Somebody padded it.
    #[error("the address is longer than any provider's")]
    TooLong,
}

/// What a consent can end with besides a code (RFC 6749, section 4.1.2.1; `OpenID` Connect Core 1.0, section 3.1.2.6).
const ERRORS: [&str; 14] = [
    "access_denied",
    "account_selection_required",
    "consent_required",
    "interaction_required",
    "invalid_request",
    "invalid_request_object",
    "invalid_request_uri",
    "invalid_scope",
    "login_required",
    "request_not_supported",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_response_type",
];

/// The standard error that this is, however it is written: some servers write words, or capitals.
fn standard(error: &str) -> Option<&'static str> {
    let words: Vec<&str> = error.split_whitespace().collect();
    let written = words.join("_").to_ascii_lowercase();
    ERRORS.into_iter().find(|known| *known == written)
}

impl Redirect {
    /// Reads the query of a redirect, with or without its `?`. Unknown parameters are ignored.
    pub fn parse(query: &str) -> Result<Self, InvalidRedirect> {
        if query.len() > MAX_QUERY {
            return Err(InvalidRedirect::TooLong);
        }
        let query = query.strip_prefix('?').unwrap_or(query);
        let value = |name: &'static str| {
            let mut values = form_urlencoded::parse(query.as_bytes())
                .filter(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned());
            match (values.next(), values.next()) {
                (_, Some(_)) => Err(InvalidRedirect::Twice(name)),
                (Some(value), None) if value.len() > MAX_VALUE => Err(InvalidRedirect::TooLong),
                (value, None) => Ok(value.filter(|text| !text.is_empty())),
            }
        };
        let state = value("state")?.ok_or(InvalidRedirect::NoState)?;
        let outcome = match (value("code")?, value("error")?) {
            (Some(_), Some(_)) => return Err(InvalidRedirect::Both),
            (None, None) => return Err(InvalidRedirect::NoOutcome),
            (Some(code), None) => Outcome::Code {
                code: code.into(),
                issuer: value("iss")?,
            },
            (None, Some(error)) => Outcome::Error {
                error: standard(&error).map_or_else(|| code::code(error.trim()), str::to_owned),
                description: value("error_description")?.map(|text| scrub(&text, &[&state])),
            },
        };
        Ok(Self {
            state: state.into(),
            outcome,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(query: &str) -> InvalidRedirect {
        Redirect::parse(query).err().unwrap()
    }

    #[test]
    fn a_code_comes_back_and_the_unknown_is_ignored() {
        let redirect = Redirect::parse(
            "?state=s%2B1&iss=https://accounts.google.com&code=4%2F0Ab&scope=email%20openid&authuser=0&authuser=1",
        )
        .unwrap();
        assert!(redirect.state == StateToken::from("s+1"));
        let Outcome::Code { code, .. } = redirect.outcome else {
            panic!("a code");
        };
        assert!(code == AuthorizationCode::from("4/0Ab"));
    }

    #[test]
    fn a_denial_comes_back() {
        let redirect =
            Redirect::parse("error=access_denied&state=st4te-st4te&error_description=No%0AThanks").unwrap();
        let Outcome::Error { error, description } = redirect.outcome else {
            panic!("an error");
        };
        assert_eq!(
            (error.as_str(), description.as_deref()),
            ("access_denied", Some("No Thanks"))
        );
    }

    #[test]
    fn what_no_provider_sends_is_refused() {
        assert_eq!(refused(""), InvalidRedirect::NoState);
        assert_eq!(refused("code=a"), InvalidRedirect::NoState);
        assert_eq!(refused("state=&code=a"), InvalidRedirect::NoState);
        assert_eq!(refused("state=s"), InvalidRedirect::NoOutcome);
        assert_eq!(refused("state=s&code=a&error=b"), InvalidRedirect::Both);
        assert_eq!(refused("state=s&code=a&code=b"), InvalidRedirect::Twice("code"));
        assert_eq!(refused("state=s&state=s&code=a"), InvalidRedirect::Twice("state"));
        assert_eq!(refused("state=s&%63ode=a&code=b"), InvalidRedirect::Twice("code"));
        let long = "x".repeat(MAX_VALUE + 1);
        assert_eq!(refused(&format!("state=s&code={long}")), InvalidRedirect::TooLong);
        assert_eq!(refused(&format!("state={long}&code=a")), InvalidRedirect::TooLong);
        assert_eq!(refused(&"y=1&".repeat(MAX_QUERY)), InvalidRedirect::TooLong);
        assert!(Redirect::parse(&format!("state=s&code={}", &long[1..])).is_ok());
    }

    proptest! {
        #[test]
        fn no_query_panics(query in ".{0,600}") {
            let _ = Redirect::parse(&query);
            let _ = Redirect::parse(&format!("state=s&code=c&{query}"));
        }
    }
}
