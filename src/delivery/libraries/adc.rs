//! `adc.json`: what `GOOGLE_APPLICATION_CREDENTIALS` names.

use serde::Serialize;
use url::Url;
use zeroize::Zeroizing;

use crate::{id::AgentName, secret::AgentSecret};

/// What the fields around the secret take.
const OVERHEAD: usize = 256;

/// The credential file of `agent`, of the type that all of Google's libraries refresh at a token endpoint of the
/// file's own.
///
/// The audience names no workforce pool: with one, google-auth would look up its access boundary at Google.
/// The refresh token is a handle and no secret; the libraries take no file without one.
pub(in crate::delivery) fn credential_file(
    agent: &AgentName,
    secret: &AgentSecret,
    token_url: &Url,
) -> Zeroizing<Vec<u8>> {
    #[derive(Serialize)]
    struct File<'a> {
        r#type: &'static str,
        audience: &'static str,
        client_id: &'a str,
        client_secret: &'a str,
        refresh_token: &'a str,
        token_url: &'a str,
    }
    let file = File {
        r#type: "external_account_authorized_user",
        audience: "broker",
        client_id: agent.as_str(),
        client_secret: secret.expose(),
        refresh_token: handle(agent),
        token_url: token_url.as_str(),
    };
    // Enough for the whole text: growing would copy the secret about.
    let capacity = OVERHEAD
        + file.client_id.len()
        + file.client_secret.len()
        + file.refresh_token.len()
        + file.token_url.len();
    let mut text = Zeroizing::new(Vec::with_capacity(capacity));
    // Writing to memory does not fail, and neither does anything in the value.
    let _ = serde_json::to_writer(&mut *text, &file);
    text.push(b'\n');
    text
}

/// What stands for a grant in the file.
pub(super) fn handle(agent: &AgentName) -> &str {
    agent.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_what_the_libraries_read() {
        let file = credential_file(
            &"invoice-bot".parse().unwrap(),
            &AgentSecret::from("sesame"),
            &Url::parse("http://127.0.0.1:8421/sts/v1/token").unwrap(),
        );
        assert_eq!(
            std::str::from_utf8(&file).unwrap(),
            "{\"type\":\"external_account_authorized_user\",\"audience\":\"broker\",\
             \"client_id\":\"invoice-bot\",\"client_secret\":\"sesame\",\"refresh_token\":\"invoice-bot\",\
             \"token_url\":\"http://127.0.0.1:8421/sts/v1/token\"}\n"
        );
    }

    #[test]
    fn it_is_written_without_growing() {
        let url = Url::parse(&format!("http://{}.example/sts/v1/token", "x".repeat(60))).unwrap();
        let agent = "a".repeat(63).parse().unwrap();
        let file = credential_file(&agent, &AgentSecret::from("s".repeat(43)), &url);
        assert!(file.len() < file.capacity(), "{} bytes", file.len());
        let fields = url.as_str().len() + 2 * 63 + 43;
        assert_eq!(file.capacity(), OVERHEAD + fields);
    }
}
