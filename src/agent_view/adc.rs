//! `adc.json` and `adc-external.json`: what `GOOGLE_APPLICATION_CREDENTIALS` names.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;
use url::Url;
use zeroize::Zeroizing;

use crate::{id::AgentName, secret::AgentSecret};

/// What the fields around the secret take.
const OVERHEAD: usize = 256;

/// The credential files of one agent.
pub(crate) struct CredentialFiles {
    /// `adc.json`.
    pub(crate) adc: Zeroizing<Vec<u8>>,
    /// `adc-external.json`.
    pub(crate) external: Zeroizing<Vec<u8>>,
}

impl CredentialFiles {
    /// What `agent` reads, whose token endpoint is at `token_url`.
    pub(crate) fn new(agent: &AgentName, secret: &AgentSecret, token_url: &Url) -> Self {
        Self {
            adc: credential_file(agent, secret, token_url),
            external: external_credential_file(agent, secret, token_url),
        }
    }
}

/// The credential file of `agent`, of the type that all of Google's libraries refresh at a token endpoint of the
/// file's own.
///
/// The audience names no workforce pool: with one, google-auth would look up its access boundary at Google.
/// The refresh token is a handle and no secret; the libraries take no file without one.
fn credential_file(agent: &AgentName, secret: &AgentSecret, token_url: &Url) -> Zeroizing<Vec<u8>> {
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

/// The credential file of `agent` for the libraries that do not know the type of [`credential_file`] but do know
/// workload identity federation: Ruby's, and gRPC's C core.
///
/// They get a subject token from an address of the file's own, with the headers that the file names, and exchange it
/// at `token_url`. No path is in the file, because the daemon does not know where the directory is mounted.
fn external_credential_file(agent: &AgentName, secret: &AgentSecret, token_url: &Url) -> Zeroizing<Vec<u8>> {
    #[derive(Serialize)]
    struct File<'a> {
        r#type: &'static str,
        audience: &'static str,
        subject_token_type: &'static str,
        token_url: &'a str,
        credential_source: Source<'a>,
    }
    #[derive(Serialize)]
    struct Source<'a> {
        url: &'a str,
        headers: Headers<'a>,
        format: Format,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Headers<'a> {
        authorization: &'a str,
    }
    #[derive(Serialize)]
    struct Format {
        r#type: &'static str,
    }
    // Beside the token endpoint. A name alone always joins.
    let subject_url = token_url.join("subject").unwrap_or_else(|_| token_url.clone());
    let authorization = Zeroizing::new(format!("Basic {}", &*basic_credentials(agent.as_str(), secret)));
    let file = File {
        r#type: "external_account",
        audience: "broker",
        // The agent's secret: no type that is registered (RFC 8693, section 3).
        subject_token_type: "urn:token-broker:token-type:agent-secret",
        token_url: token_url.as_str(),
        credential_source: Source {
            url: subject_url.as_str(),
            headers: Headers {
                authorization: &authorization,
            },
            format: Format { r#type: "text" },
        },
    };
    // Enough for the whole text: growing would copy the secret about.
    let capacity = 2 * OVERHEAD + 2 * file.token_url.len() + authorization.len();
    let mut text = Zeroizing::new(Vec::with_capacity(capacity));
    // Writing to memory does not fail, and neither does anything in the value.
    let _ = serde_json::to_writer(&mut *text, &file);
    text.push(b'\n');
    text
}

/// Name and secret as HTTP Basic carries them (RFC 7617).
pub(crate) fn basic_credentials(name: &str, secret: &AgentSecret) -> Zeroizing<String> {
    let both = Zeroizing::new([name.as_bytes(), b":", secret.expose().as_bytes()].concat());
    Zeroizing::new(BASE64_STANDARD.encode(&*both))
}

/// What stands for a grant in the file.
pub(crate) fn handle(agent: &AgentName) -> &str {
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
    fn the_external_file_names_the_subject_token_beside_the_endpoint() {
        let file = external_credential_file(
            &"invoice-bot".parse().unwrap(),
            &AgentSecret::from("sesame"),
            &Url::parse("http://host:8421/broker/sts/v1/token").unwrap(),
        );
        let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
        assert_eq!(
            file,
            serde_json::json!({
                "type": "external_account",
                "audience": "broker",
                "subject_token_type": "urn:token-broker:token-type:agent-secret",
                "token_url": "http://host:8421/broker/sts/v1/token",
                "credential_source": {
                    "url": "http://host:8421/broker/sts/v1/subject",
                    "headers": {"Authorization": "Basic aW52b2ljZS1ib3Q6c2VzYW1l"},
                    "format": {"type": "text"},
                },
            })
        );
    }

    #[test]
    fn they_are_written_without_growing() {
        let url = Url::parse(&format!("http://{}.example/sts/v1/token", "x".repeat(60))).unwrap();
        let agent = "a".repeat(63).parse().unwrap();
        let file = credential_file(&agent, &AgentSecret::from("s".repeat(43)), &url);
        assert!(file.len() < file.capacity(), "{} bytes", file.len());
        let fields = url.as_str().len() + 2 * 63 + 43;
        assert_eq!(file.capacity(), OVERHEAD + fields);
        let file = external_credential_file(&agent, &AgentSecret::from("s".repeat(43)), &url);
        let basic = "Basic ".len() + (63 + 1 + 43usize).div_ceil(3) * 4;
        assert_eq!(file.capacity(), 2 * OVERHEAD + 2 * url.as_str().len() + basic);
    }
}
