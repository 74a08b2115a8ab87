//! A grant that somebody else holds: a refresh token by itself, or an `authorized_user` file around it.

use serde::Deserialize;

use crate::{
    cause::JsonPlace,
    provider::{
        file::{InvalidGrantFile, UnreadableGrant},
        google::endpoints::is_token_endpoint,
    },
    secret::RefreshToken,
    text::{self, Field, scrub::plain},
};

/// Such files are below 1 KiB.
const MAX_FILE: usize = 32 * 1024;

#[derive(Default, Deserialize)]
#[serde(default)]
struct GrantFile {
    r#type: Field,
    client_id: Field,
    token_uri: Field,
    refresh_token: Field,
}

/// Finds the refresh token in `text`, unless what is around it says that it belongs elsewhere.
pub fn parse(text: &str, client_id: &str, token_endpoint: &str) -> Result<RefreshToken, InvalidGrantFile> {
    let text = text::plain(text).trim();
    if text.len() > MAX_FILE {
        return Err(UnreadableGrant::TooLong(MAX_FILE).into());
    }
    if !text.starts_with('{') {
        return token(unquoted(text).into());
    }
    let file: GrantFile = serde_json::from_str(text).map_err(|error| {
        // What serde says about it would quote the file.
        UnreadableGrant::Json(JsonPlace::of(&error))
    })?;
    let token = file.refresh_token.text();
    let token = token.map(|token| RefreshToken::from(token.unwrap_or_default()));
    // Google's libraries write the same fields without a type.
    if let Some(found) = file.r#type.optional().filter(|kind| kind != "authorized_user") {
        return Err(InvalidGrantFile::OtherKind { found: plain(&found) });
    }
    if let Some(found) = file.client_id.optional().filter(|found| found != client_id) {
        return Err(InvalidGrantFile::OtherClient {
            found: plain(&found),
            configured: client_id.to_owned(),
        });
    }
    let elsewhere = |found: &String| !is_token_endpoint(Some(found), token_endpoint);
    if let Some(found) = file.token_uri.optional().filter(elsewhere) {
        return Err(InvalidGrantFile::OtherServer {
            found: plain(&found),
            expected: token_endpoint.to_owned(),
        });
    }
    self::token(token.map_err(|_| UnreadableGrant::NotText)?)
}

/// A token as people copy it out of JSON: no token has quotes.
fn unquoted(text: &str) -> &str {
    let inner = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

fn token(token: RefreshToken) -> Result<RefreshToken, InvalidGrantFile> {
    let text = token.expose();
    if text.is_empty() {
        return Err(UnreadableGrant::Empty.into());
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(UnreadableGrant::Characters.into());
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "client.apps.googleusercontent.com";
    const ENDPOINT: &str = "https://oauth2.googleapis.com/token";
    const CANARY: &str = "1//0canary-refresh-token";

    fn read(text: &str) -> Result<String, String> {
        match parse(text, CLIENT, ENDPOINT) {
            Ok(token) => Ok(token.expose().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_token_is_found_by_itself_and_in_files() {
        for text in [
            format!("  {CANARY}\n"),
            format!("\u{feff}{CANARY}\n"),
            format!("\"{CANARY}\"\n"),
            format!("\u{feff}{{\"refresh_token\":\"{CANARY}\",\"client_id\":null,\"type\":7.5}}"),
            format!(
                r#"{{"refresh_token":"{CANARY}","client_id":[],"token_uri":"https://accounts.google.com/o/oauth2/token"}}"#
            ),
            format!(
                r#"{{"type":"authorized_user","client_id":"{CLIENT}","client_secret":"s","refresh_token":"{CANARY}"}}"#
            ),
            format!(
                r#"{{"token":"ya29.x","refresh_token":"{CANARY}","token_uri":"{ENDPOINT}","scopes":["a"]}}"#
            ),
        ] {
            assert_eq!(read(&text).as_deref(), Ok(CANARY), "{text}");
        }
    }

    #[test]
    fn what_belongs_elsewhere_is_refused_and_nothing_of_it_is_repeated() {
        for (text, words) in [
            (format!("{CANARY} {CANARY}"), "white space"),
            (String::new(), "no refresh token"),
            ("{}".to_owned(), "no refresh token"),
            (
                format!(r#"{{"refresh_token":["{CANARY}"]}}"#),
                "its `refresh_token` is not a text",
            ),
            (format!(r#"{{"refresh_token":"{CANARY}"#), "broken"),
            (
                format!(r#"{{"type":"service_account","refresh_token":"{CANARY}"}}"#),
                "`token-broker service-account add` takes",
            ),
            (
                format!(r#"{{"client_id":"other","refresh_token":"{CANARY}"}}"#),
                "the OAuth client other, and this daemon is configured for client.apps",
            ),
            (
                format!(r#"{{"token_uri":"https://evil.example/token","refresh_token":"{CANARY}"}}"#),
                "`https://evil.example/token`, but this daemon asks https://oauth2",
            ),
            (
                format!(r#"{{"type":"{CANARY}","refresh_token":"x"}}"#),
                "(not shown: it may be a secret)",
            ),
            ("x".repeat(MAX_FILE + 1), "longer than"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
