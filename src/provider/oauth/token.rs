//! Successful answers of the token endpoint (RFC 6749, section 5.1).

use std::time::Duration;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    capability::ScopeSet,
    cause::TokenAnswerFault,
    secret::{AccessToken, RefreshToken},
    text::{json_fields::Fields, scrub::plain, seconds},
};

/// A longer life is cut to this: renewing too early harms nobody.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Google's tokens stay below 2 KiB.
const MAX_TOKEN: usize = 16 * 1024;

/// What Google documents for its access tokens: an answer that does not say lives as long.
const DEFAULT_LIFE: Duration = Duration::from_secs(3600);

/// The refresh token of an answer, whatever else is in it: the one that was `sent` may be spent by now.
pub(in crate::provider) fn refresh_token(
    fields: &Fields<'_>,
    sent: Option<&RefreshToken>,
) -> Option<RefreshToken> {
    let usable = fields.texts("refresh_token").rfind(|token| is_visible(token));
    // A number that a server forgot the quotes of is the text that it is written as.
    let usable = usable.or_else(|| fields.digits("refresh_token"))?;
    let token = RefreshToken::from(usable.as_str());
    // Some servers repeat the one that was sent: nothing was rotated then.
    (sent != Some(&token)).then_some(token)
}

/// How long the refresh token lives, where the answer says so.
pub(in crate::provider) fn refresh_token_life(fields: &Fields<'_>) -> Option<Duration> {
    life(fields, "refresh_token_expires_in")
}

/// Reads an answer.
///
/// A life that it does not tell is the one that Google documents; one that cannot be read is refused, since nobody could
/// promise then that no expired token is handed out. Fields that are optional and of another type count as absent.
pub(in crate::provider) fn parse(fields: &Fields<'_>) -> Result<Read, TokenAnswerFault> {
    let access_token = fields
        .text("access_token")
        .ok_or(TokenAnswerFault::NoAccessToken)?;
    if !is_bearer_token(&access_token) {
        return Err(TokenAnswerFault::AccessToken);
    }
    if let Some(kind) = fields.text("token_type")
        && !kind.eq_ignore_ascii_case("bearer")
    {
        return Err(TokenAnswerFault::TokenType(plain(&kind)));
    }
    let expires_in = match fields.raw("expires_in") {
        None => DEFAULT_LIFE,
        Some(raw) => life(fields, "expires_in")
            .ok_or_else(|| no_life(raw))?
            .min(MAX_LIFE),
    };
    Ok(Read {
        access_token: access_token.as_str().into(),
        expires_in,
        scopes: scopes(fields),
        id_token: fields.text("id_token").map(|token| token.to_string()),
    })
}

/// What an answer says besides the grant.
pub(in crate::provider) struct Read {
    pub(in crate::provider) access_token: AccessToken,
    pub(in crate::provider) expires_in: Duration,
    pub(in crate::provider) scopes: Option<ScopeSet>,
    pub(in crate::provider) id_token: Option<String>,
}

fn no_life(raw: &[u8]) -> TokenAnswerFault {
    TokenAnswerFault::Life(plain(String::from_utf8_lossy(raw).trim_matches('"')))
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

/// A positive number of seconds.
fn life(fields: &Fields<'_>, name: &str) -> Option<Duration> {
    let text = match fields.text(name) {
        Some(text) => text,
        None => Zeroizing::new(std::str::from_utf8(fields.raw(name)?).ok()?.to_owned()),
    };
    let seconds = u64::try_from(seconds::parse(&text)?).ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// What the token carries, as a text or as a list of texts; `None` where the answer does not say. Leaves out what cannot
/// be a scope: no capability maps to it, so it cannot be missed.
fn scopes(fields: &Fields<'_>) -> Option<ScopeSet> {
    let text = match fields.value("scope")? {
        Value::String(text) => text,
        Value::Array(list) => {
            let texts: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            texts.join(" ")
        }
        _ => return None,
    };
    let known = |text: &str| {
        // Some servers put commas between them.
        text.split(|c: char| c.is_ascii_whitespace() || c == ',')
            .filter_map(|scope| scope.parse().ok())
            .collect()
    };
    (!text.trim().is_empty()).then(|| known(&text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{cause::UnusableAnswer, provider::ProviderError};

    fn read(body: &[u8]) -> Result<Read, TokenAnswerFault> {
        parse(&Fields::read(body).ok_or(TokenAnswerFault::NoObject)?)
    }

    fn answer(body: &Value) -> Result<Read, TokenAnswerFault> {
        read(body.to_string().as_bytes())
    }

    /// `{"access_token": "t", NAME: VALUE}`, as it is written.
    fn with(name: &str, value: &str) -> Result<Read, TokenAnswerFault> {
        read(format!(r#"{{"access_token": "t", "{name}": {value}}}"#).as_bytes())
    }

    fn refresh_token_of(body: &str) -> Option<String> {
        let fields = Fields::read(body.as_bytes())?;
        let token = refresh_token(&fields, Some(&"1//0old".into()));
        token.map(|token| token.expose().to_owned())
    }

    fn unusable(answer: Result<Read, TokenAnswerFault>) -> String {
        let fault = answer.err().expect("it is refused");
        let host = "h".to_owned();
        ProviderError::unusable(UnusableAnswer::Token { host, fault }).to_string()
    }

    #[test]
    fn googles_answer_is_read_whole() {
        let body = json!({
            "access_token": "ya29.a0-_~+/9==", "expires_in": 3599, "token_type": "Bearer",
            "scope": "openid https://www.googleapis.com/auth/gmail.send bad\"scope",
            "refresh_token": "1//0gAb-c", "refresh_token_expires_in": 604_799, "id_token": "a.b.c",
            "something_new": {"x": 1},
        });
        let answer = answer(&body).ok().unwrap();
        assert_eq!(answer.access_token.expose(), "ya29.a0-_~+/9==");
        assert_eq!(answer.expires_in, Duration::from_secs(3599));
        assert_eq!(
            answer.scopes,
            Some(ScopeSet::parse("openid https://www.googleapis.com/auth/gmail.send").unwrap())
        );
        assert_eq!(answer.id_token.as_deref(), Some("a.b.c"));
        let body = body.to_string();
        assert_eq!(refresh_token_of(&body).as_deref(), Some("1//0gAb-c"));
        let life = refresh_token_life(&Fields::read(body.as_bytes()).unwrap());
        assert_eq!(life, Some(Duration::from_secs(604_799)));
    }

    #[test]
    fn a_refresh_token_is_read_whatever_else_is_in_the_answer() {
        for body in [
            r#"{"refresh_token":"1//0new"}"#,
            r#"{"refresh_token":" 1//0new\n"}"#,
            r#"{"access_token":7,"expires_in":NaN,"scope":{},"token_type":"","id_token":[],"refresh_token":"1//0new"}"#,
            r#"{"expires_in":1e999,"refresh_token":"1//0new","x":"#,
            "\u{feff}{\"refresh_token\":\"1//0new\"}",
            r#"{"refresh_token":"1//0new"}<html>"#,
            r#"{"refresh_token":"a b","refresh_token":"1//0new","refresh_token":7}"#,
            r#"{"error":"internal_failure","refresh_token":"1//0new"}"#,
        ] {
            assert_eq!(refresh_token_of(body).as_deref(), Some("1//0new"), "{body}");
        }
        let number = refresh_token_of(r#"{"refresh_token":12345}"#);
        assert_eq!(number.as_deref(), Some("12345"), "its quotes were forgotten");
        for body in [
            "{}",
            r#"{"refresh_token":-1}"#,
            r#"{"refresh_token":1.5}"#,
            r#"{"refresh_token":""}"#,
            r#"{"refresh_token":null}"#,
            r#"{"refresh_token":["1//0new"]}"#,
            r#"{"refresh_token":"a b"}"#,
            r#"{"refresh_token":"1//0ne"#,
            r#"{"of":{"refresh_token":"1//0new"}}"#,
            // The one that was sent.
            r#"{"refresh_token":"1//0old"}"#,
        ] {
            assert_eq!(refresh_token_of(body), None, "{body}");
        }
    }

    #[test]
    fn the_least_answer_will_do() {
        let answer = answer(&json!({"access_token": "t", "expires_in": "60"}))
            .ok()
            .unwrap();
        assert_eq!(answer.expires_in, Duration::from_secs(60));
        assert_eq!(answer.scopes, None);
        assert!(answer.id_token.is_none());
        let answer = read(br#"{"access_token":"t"}"#).ok().unwrap();
        assert_eq!(answer.expires_in, DEFAULT_LIFE);
    }

    #[test]
    fn a_life_is_a_number_of_seconds_however_it_is_written() {
        for (written, seconds) in [
            ("3599", 3599),
            ("3599.0", 3599),
            ("3599.9", 3599),
            ("3.6e3", 3600),
            (r#""3599.0""#, 3599),
            (r#"" 3599 ""#, 3599),
            ("null", 3600),
            ("86401", 86_400),
            ("18446744073709551616", 86_400),
            ("1e300", 86_400),
            ("1e999", 86_400),
        ] {
            let life = with("expires_in", written).ok().unwrap().expires_in;
            assert_eq!(life, Duration::from_secs(seconds), "{written}");
        }
        for bad in [
            "0",
            "0.9",
            "-1",
            "-1e9",
            r#""0""#,
            r#""soon""#,
            r#""""#,
            "NaN",
            "Infinity",
            "[3600]",
            "{}",
            "true",
        ] {
            let said = unusable(with("expires_in", bad));
            assert!(
                said.starts_with("The token answer of h cannot be used: its `expires_in` is `")
                    && said.contains("number of seconds"),
                "{said}"
            );
        }
        assert!(unusable(with("expires_in", "-5")).contains("`-5`"));
        let body = br#"{"refresh_token_expires_in": "never"}"#;
        assert_eq!(refresh_token_life(&Fields::read(body).unwrap()), None);
    }

    #[test]
    fn an_optional_field_of_another_type_is_as_good_as_none() {
        for odd in ["{}", "[]", "7", "true", "null", r#""""#, "undefined"] {
            for name in ["scope", "id_token", "token_type", "refresh_token"] {
                let answer = with(name, odd).ok().unwrap();
                assert_eq!((answer.scopes, answer.id_token), (None, None), "{name}: {odd}");
            }
        }
        let listed = with("scope", r#"["openid", 7, "email"]"#).ok().unwrap();
        assert_eq!(listed.scopes, Some(ScopeSet::parse("email openid").unwrap()));
        assert!(unusable(with("token_type", r#""mac""#)).contains("`mac`, not `Bearer`"));
        assert!(with("token_type", r#""BEARER ""#).is_ok());
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
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&body);
        }

        #[test]
        fn no_field_panics(token in ".{0,40}", life in any::<i64>(), scope in ".{0,40}") {
            let body = json!({"access_token": token, "expires_in": life, "scope": scope});
            let _ = answer(&body);
        }
    }
}
