//! Successful answers of the token endpoint (RFC 6749, section 5.1).

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::catalog::ScopeSet;

use super::{TokenAnswer, http::Reply};

/// A longer life is cut to this: renewing too early harms nobody.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Google's tokens stay below 2 KiB.
const MAX_TOKEN: usize = 16 * 1024;

#[derive(Deserialize)]
struct Wire {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<Value>,
    scope: Option<String>,
    refresh_token: Option<String>,
    refresh_token_expires_in: Option<Value>,
    id_token: Option<String>,
}

/// Reads an answer; the error says in a few words what is wrong with it.
///
/// `expires_in` is required, although RFC 6749 only recommends it: Google always sends it, and without it
/// nobody could promise that no expired token is handed out.
pub(super) fn parse(reply: &Reply) -> Result<TokenAnswer, &'static str> {
    // What serde says about it is left out: it would quote the answer.
    let wire: Wire =
        serde_json::from_slice(&reply.body).map_err(|_| "it is not a JSON object with an `access_token`")?;
    if !is_bearer_token(&wire.access_token) {
        return Err("its `access_token` is not of the form of RFC 6750");
    }
    if wire
        .token_type
        .is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer"))
    {
        return Err("its `token_type` is not `Bearer`");
    }
    let expires_in = wire
        .expires_in
        .as_ref()
        .and_then(seconds)
        .ok_or("its `expires_in` is not a positive number of seconds")?
        .min(MAX_LIFE);
    if wire
        .refresh_token
        .as_ref()
        .is_some_and(|token| !is_visible(token))
    {
        return Err("its `refresh_token` is not of the form of RFC 6749");
    }
    Ok(TokenAnswer {
        access_token: wire.access_token.into(),
        expires_in,
        scopes: wire.scope.map(|text| known_scopes(&text)),
        refresh_token: wire.refresh_token.map(Into::into),
        refresh_token_expires_in: wire.refresh_token_expires_in.as_ref().and_then(seconds),
        id_token: wire.id_token,
        server_time: reply.date(),
    })
}

/// Of the form `b64token` (RFC 6750, section 2.1), which header lines and env files carry as it is.
fn is_bearer_token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !body.is_empty()
        && token.len() <= MAX_TOKEN
        && body
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

fn is_visible(token: &str) -> bool {
    (1..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic())
}

/// A positive whole number; some servers write it as a string.
fn seconds(value: &Value) -> Option<Duration> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.filter(|&seconds| seconds > 0).map(Duration::from_secs)
}

/// Leaves out what cannot be a scope: no capability maps to it, so it cannot be missed.
fn known_scopes(text: &str) -> ScopeSet {
    text.split_ascii_whitespace()
        .filter_map(|scope| scope.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode, header};
    use proptest::prelude::*;
    use serde_json::json;
    use zeroize::Zeroizing;

    use super::*;

    fn reply(body: &[u8]) -> Reply {
        Reply {
            status: StatusCode::OK,
            headers: HeaderMap::from_iter([(
                header::DATE,
                HeaderValue::from_static("Mon, 15 Jan 2024 10:30:00 GMT"),
            )]),
            body: Zeroizing::new(body.to_vec()),
        }
    }

    fn answer(body: &Value) -> Result<TokenAnswer, &'static str> {
        parse(&reply(body.to_string().as_bytes()))
    }

    #[test]
    fn googles_answer_is_read_whole() {
        let answer = answer(&json!({
            "access_token": "ya29.a0-_~+/9==", "expires_in": 3599, "token_type": "Bearer",
            "scope": "openid https://www.googleapis.com/auth/gmail.send bad\"scope",
            "refresh_token": "1//0gAb-c", "refresh_token_expires_in": 604_799, "id_token": "a.b.c",
            "something_new": {"x": 1},
        }))
        .ok()
        .unwrap();
        assert_eq!(answer.access_token.expose(), "ya29.a0-_~+/9==");
        assert_eq!(answer.expires_in, Duration::from_secs(3599));
        assert_eq!(
            answer.scopes,
            Some(ScopeSet::parse("openid https://www.googleapis.com/auth/gmail.send").unwrap())
        );
        assert_eq!(answer.refresh_token.unwrap().expose(), "1//0gAb-c");
        assert_eq!(
            answer.refresh_token_expires_in,
            Some(Duration::from_secs(604_799))
        );
        assert_eq!(answer.id_token.as_deref(), Some("a.b.c"));
        assert_eq!(answer.server_time, Some("2024-01-15T10:30:00Z".parse().unwrap()));
    }

    #[test]
    fn the_least_answer_will_do() {
        let answer = answer(&json!({"access_token": "t", "expires_in": "60"}))
            .ok()
            .unwrap();
        assert_eq!(answer.expires_in, Duration::from_secs(60));
        assert_eq!(answer.scopes, None);
        assert!(answer.refresh_token.is_none() && answer.id_token.is_none());
    }

    #[test]
    fn a_life_is_positive_and_at_most_a_day() {
        for bad in [
            json!(0),
            json!(-1),
            json!("0"),
            json!("soon"),
            json!(1.5),
            json!(null),
            json!([3600]),
        ] {
            assert!(
                answer(&json!({"access_token": "t", "expires_in": bad})).is_err(),
                "{bad}"
            );
        }
        assert!(answer(&json!({"access_token": "t"})).is_err());
        for long in [json!(86_401), json!(u64::MAX)] {
            let answer = answer(&json!({"access_token": "t", "expires_in": long}))
                .ok()
                .unwrap();
            assert_eq!(answer.expires_in, MAX_LIFE);
        }
        let odd = json!({"access_token": "t", "expires_in": 60, "refresh_token_expires_in": "never"});
        assert_eq!(answer(&odd).ok().unwrap().refresh_token_expires_in, None);
    }

    #[test]
    fn a_token_that_a_shell_or_a_header_would_read_is_refused() {
        for bad in [
            "",
            "=",
            "a b",
            "$(reboot)",
            "a\nB=c",
            "a\"",
            "ä",
            "`x`",
            &"x".repeat(MAX_TOKEN + 1),
        ] {
            assert!(
                answer(&json!({"access_token": bad, "expires_in": 60})).is_err(),
                "{bad}"
            );
        }
        for bad in ["", "a b", "a\n", "ä"] {
            let body = json!({"access_token": "t", "expires_in": 60, "refresh_token": bad});
            assert!(answer(&body).is_err(), "{bad}");
        }
        assert!(answer(&json!({"access_token": "t", "expires_in": 60, "token_type": "mac"})).is_err());
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&reply(&body));
        }

        #[test]
        fn no_field_panics(token in ".{0,40}", life in any::<i64>(), scope in ".{0,40}") {
            let body = json!({"access_token": token, "expires_in": life, "scope": scope});
            let _ = answer(&body);
        }
    }
}
