//! The OAuth client's secret as people keep it: by itself, or in the JSON file that the Google Cloud console offers.

use serde::Deserialize;

use crate::{
    secret::{ClientSecret, shape::redacted},
    text::{self, Field},
};

/// `client_secret.json`: the client is in a field that says what kind it is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ClientFile {
    r#type: Field,
    web: Option<Client>,
    installed: Option<Client>,
    #[serde(flatten)]
    bare: Client,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Client {
    client_id: Field,
    client_secret: Field,
}

/// Finds the secret in `text`, which has no white space around it, or says what is wrong with it and what to do. Repeats
/// nothing of it but a client id.
pub(super) fn read(text: &str, client_id: &str) -> Result<ClientSecret, String> {
    let secret = if text.starts_with('{') {
        from_json(text, client_id)?
    } else {
        text.into()
    };
    check(secret.expose())?;
    Ok(secret)
}

fn from_json(text: &str, client_id: &str) -> Result<ClientSecret, String> {
    const OTHER: &str = "download it anew from the client's page in the Google Cloud console";
    let file: ClientFile = serde_json::from_str(text).map_err(|error| {
        // What serde says about it would quote the file.
        format!(
            "its JSON is broken at line {}, column {}: {OTHER}",
            error.line(),
            error.column()
        )
    })?;
    let client = file.web.or(file.installed).unwrap_or(file.bare);
    let secret = client.client_secret.optional().map(ClientSecret::from);
    let Some(secret) = secret else {
        return Err(match file.r#type.optional().as_deref() {
            Some("service_account") => {
                "it is a service account's key, which `token-broker service-account add` takes".to_owned()
            }
            _ => format!("it is JSON without a `client_secret`: {OTHER}"),
        });
    };
    if let Some(found) = client.client_id.optional().filter(|found| found != client_id) {
        return Err(format!(
            "it is of the client {}, but google.client_id is {client_id}: take both from one client",
            text::quoted(&redacted(&found), 120)
        ));
    }
    Ok(secret)
}

/// Refuses what a paste leaves around a secret, or within: Google would only say that the secret is wrong.
fn check(secret: &str) -> Result<(), String> {
    if secret.contains(['\n', '\r']) {
        return Err("it has more than one line: write the secret alone".to_owned());
    }
    let quoted = |quote| secret.len() > 1 && secret.starts_with(quote) && secret.ends_with(quote);
    if ['"', '\'', '`'].into_iter().any(quoted) {
        return Err("it is in quotes: write the secret alone".to_owned());
    }
    // VSCHAR of RFC 6749, appendix A.
    match secret.chars().find(|c| !(' '..='~').contains(c)) {
        None => Ok(()),
        Some(c) => Err(format!(
            "it holds the character U+{:04X}, which no client secret has: copy it once more",
            u32::from(c)
        )),
    }
}

#[cfg(test)]
mod tests {
    const ID: &str = "1234-abcd.apps.googleusercontent.com";
    const SECRET: &str = "GOCSPX-canary-canary-canary-canary";

    fn read(text: &str) -> Result<String, String> {
        super::read(text, ID).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn a_secret_is_found_by_itself_and_in_the_consoles_file() {
        for text in [
            SECRET.to_owned(),
            format!(
                r#"{{"web":{{"client_id":"{ID}","client_secret":"{SECRET}","redirect_uris":["x"],"project_id":7}}}}"#
            ),
            format!(r#"{{"web":{{"client_id":null,"client_secret":"{SECRET}"}}}}"#),
            format!(r#"{{"installed":{{"client_id":"{ID}","client_secret":"{SECRET}"}}}}"#),
            format!(r#"{{"client_id":"{ID}","client_secret":"{SECRET}"}}"#),
        ] {
            assert_eq!(read(&text).as_deref(), Ok(SECRET), "{text}");
        }
        assert_eq!(read("with space ~").as_deref(), Ok("with space ~"));
    }

    #[test]
    fn what_google_would_only_call_wrong_is_told_at_once_and_not_repeated() {
        for (text, words) in [
            (format!("\"{SECRET}\""), "in quotes"),
            (format!("'{SECRET}'"), "in quotes"),
            (format!("{SECRET}\n{SECRET}"), "more than one line"),
            (format!("{SECRET}\u{200b}"), "U+200B"),
            (format!("\u{201c}{SECRET}\u{201d}"), "U+201C"),
            (format!("{SECRET}\u{a0}x"), "U+00A0"),
            (format!("{SECRET}\tx"), "U+0009"),
            (
                format!("{{\"web\":{{\"client_secret\":\"{SECRET}\""),
                "broken at line 1",
            ),
            ("{}".to_owned(), "without a `client_secret`"),
            (
                r#"{"web":{"client_secret":""}}"#.to_owned(),
                "without a `client_secret`",
            ),
            (
                format!(r#"{{"type":"service_account","private_key":"{SECRET}"}}"#),
                "`token-broker service-account add` takes",
            ),
            (
                format!(r#"{{"web":{{"client_id":"other","client_secret":"{SECRET}"}}}}"#),
                "of the client other, but google.client_id is 1234-abcd",
            ),
            (
                format!(r#"{{"web":{{"client_secret":"\"{SECRET}\""}}}}"#),
                "in quotes",
            ),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = read(&text);
            let _ = read(&format!("{{{text}"));
        }
    }
}
