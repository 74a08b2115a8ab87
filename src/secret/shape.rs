//! What looks like a secret, in text that somebody else wrote: a provider's error, a mistyped configuration.
//!
//! A secret that is known is taken out by name; this is for those that are not, and errs on the safe side.

use std::ops::Range;

use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD, Engine};

/// How Google's access tokens, client secrets, refresh tokens, codes and everybody's JWTs begin. The emulator's
/// begin alike.
const PREFIXES: [&[u8]; 7] = [b"ya29.", b"GOCSPX-", b"1//", b"1%2F%2F", b"4/", b"4%2F", b"eyJ"];
/// What follows a prefix is at least this long.
const REST: usize = 16;
/// Letters of both cases and digits, mixed for so long, are no name that a person gave.
const MIXED: usize = 24;
/// No field's name is longer.
const NAME: usize = 32;
/// What stands for it.
const REDACTED: &str = "[redacted]";

/// `text` with everything that looks like a secret replaced.
pub fn redacted(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = 0;
    for range in ranges(text.as_bytes()) {
        // Every range begins and ends beside ASCII.
        shown.push_str(&text[rest..range.start]);
        shown.push_str(REDACTED);
        rest = range.end;
    }
    shown.push_str(&text[rest..]);
    shown
}

/// True when some of `text` looks like a secret.
pub fn is_suspicious(text: &str) -> bool {
    ranges(text.as_bytes()).next().is_some()
}

/// True for what can be the name of a field: nothing else is repeated from a file that may not be what it was taken
/// for, such as one that a link leads to.
pub fn is_field_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphabetic() || b"_-".contains(&byte);
    (1..=NAME).contains(&text.len()) && text.bytes().all(fits) && !is_suspicious(text)
}

/// `text` without what it quotes (in backquotes or double quotes) from a file that may not be what it was taken for: only
/// names of fields and punctuation stay.
pub fn without_quotes(text: &str) -> String {
    let (mut shown, mut rest) = (String::new(), text);
    while let Some(start) = rest.find(['`', '"']) {
        let quote = &rest[start..=start];
        let inside = &rest[start + 1..];
        let Some(length) = inside.find(quote) else { break };
        shown.push_str(&rest[..=start]);
        let quoted = &inside[..length];
        let is_punctuation = quoted.len() <= 2 && !quoted.contains(char::is_alphanumeric);
        let stays = is_punctuation || is_field_name(quoted);
        shown.push_str(if stays { quoted } else { "…" });
        shown.push_str(quote);
        rest = &inside[length + 1..];
    }
    shown.push_str(rest);
    shown
}

/// Where `text` looks like a secret, in order.
pub fn ranges(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut next = 0;
    std::iter::from_fn(move || {
        while next < text.len() {
            let start = next + text[next..].iter().position(|b| is_token(*b))?;
            let length = text[start..].iter().position(|b| !is_token(*b));
            let end = length.map_or(text.len(), |length| start + length);
            next = end;
            if let Some(offset) = secret_in(&text[start..end]) {
                return Some(start + offset..end);
            }
        }
        None
    })
}

/// What tokens, keys and their percent-encoded forms are made of.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=%".contains(&byte)
}

/// Where in a word a secret begins.
fn secret_in(word: &[u8]) -> Option<usize> {
    if is_key(word) {
        return Some(0);
    }
    let prefixed = (0..word.len()).find(|&start| {
        let begins = start == 0 || !word[start - 1].is_ascii_alphanumeric();
        let rest = &word[start..];
        begins
            && PREFIXES
                .iter()
                .any(|prefix| rest.starts_with(prefix) && rest.len() >= prefix.len() + REST)
    });
    prefixed.or_else(|| mixed(word))
}

/// True for a 256-bit key in base64.
pub fn is_key(word: impl AsRef<[u8]>) -> bool {
    let word = word.as_ref();
    let word = word.strip_suffix(b"=").unwrap_or(word);
    word.len() == 43
        && (BASE64_STANDARD_NO_PAD.decode(word).is_ok() || BASE64_URL_SAFE_NO_PAD.decode(word).is_ok())
}

/// The first long run of letters of both cases and digits.
fn mixed(word: &[u8]) -> Option<usize> {
    let mut start = 0;
    for run in word.split_inclusive(|b| !b.is_ascii_alphanumeric() && !b"-_".contains(b)) {
        let has = |kind: fn(&u8) -> bool| run.iter().any(kind);
        if run.len() >= MIXED
            && has(u8::is_ascii_digit)
            && has(u8::is_ascii_lowercase)
            && has(u8::is_ascii_uppercase)
        {
            return Some(start);
        }
        start += run.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_replaced() {
        for (text, shown) in [
            ("token ya29.a0AfB_byC-abcdefghijkl was", "token [redacted] was"),
            ("token=1//0gCANARY-refresh_token_x&a=b", "token=[redacted]&a=b"),
            ("1%2F%2F0gCANARY-refresh_token_x", "[redacted]"),
            (
                "\"GOCSPX-abcdefghijklmnopqrstuvwx\": expected",
                "\"[redacted]\": expected",
            ),
            (
                "/etc/token-broker/GOCSPX-abcdefghijklmnopqrstuvwx is",
                "/etc/token-broker/[redacted] is",
            ),
            (
                "file:FIUvmumGG+ergK83fvIkLTPdOUSt5xEtxePQXTIEW8E=",
                "file:[redacted]",
            ),
            ("code 4/0AbCdEfGhIjKlMnOpQrSt.", "code [redacted]"),
            ("é dGhpcyBpcyBhIHNlY3JldCB0ZXh0 é", "é [redacted] é"),
        ] {
            assert_eq!(redacted(text), shown);
            assert!(is_suspicious(text));
        }
    }

    #[test]
    fn what_people_write_stays() {
        for text in [
            "",
            "Token has been expired or revoked.",
            "https://www.googleapis.com/auth/calendar.readonly",
            "100000000001-emulator.apps.googleusercontent.com",
            "http://127.0.0.1:8420/oauth/callback",
            "/var/lib/token-broker/state-of-the-daemon-2/broker.db",
            "Some requested scopes were invalid. {invalid=[https://www.googleapis.com/auth/x]}",
            "ya29. and 1// and 4/5",
            "é 期限切れ",
        ] {
            assert_eq!(redacted(text), text);
            assert!(!is_suspicious(text));
        }
    }

    #[test]
    fn only_names_of_fields_stay_in_quotes() {
        for (text, shown) in [
            (
                "unknown field `color`, expected one of `key`, `title`",
                "unknown field `color`, expected one of `key`, `title`",
            ),
            (
                "invalid type: string \"root:x:0:0\", expected u32",
                "invalid type: string \"…\", expected u32",
            ),
            (
                "`$y$j9T$abc` is what, `serviceAccount`",
                "`…` is what, `serviceAccount`",
            ),
            (
                "an unclosed ` stays, and so does é",
                "an unclosed ` stays, and so does é",
            ),
        ] {
            assert_eq!(without_quotes(text), shown);
        }
        assert!(!is_field_name("hunter2") && !is_field_name("") && is_field_name("client_id"));
        assert!(
            !is_field_name("GOCSPX-abcdefghijklmnopqr"),
            "a secret of letters alone"
        );
        assert_eq!(
            without_quotes("unknown field `GOCSPX-abcdefghijklmnopqr`"),
            "unknown field `…`"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text: String) {
            redacted(&text);
            without_quotes(&text);
        }
    }
}
