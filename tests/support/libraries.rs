//! The ports where Google's own libraries ask.

use http::Method;
use serde_json::Value;

use super::{
    agent::Agent,
    daemon::Daemon,
    emulator::Emulator,
    http::{Answer, request},
};

impl Daemon {
    /// A daemon with both ports, each a free one; the metadata server speaks for `agent`.
    pub(crate) fn for_libraries(google: &Emulator, agent: &str) -> Self {
        Self::with(
            google,
            &[
                ("adc.listen", "127.0.0.1:0"),
                ("metadata.listen", "127.0.0.1:0"),
                ("metadata.agent", agent),
            ],
        )
    }

    /// Where the metadata server listens, as `HOST:PORT`.
    pub(crate) fn metadata_host(&self) -> String {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("metadata server"));
        let address = line.and_then(|line| {
            let (_, rest) = line
                .split_once("listen=")
                .or_else(|| line.split_once("\"listen\":\""))?;
            rest.split([' ', '"']).next()
        });
        address.expect("the daemon says where it listens").to_owned()
    }

    /// `GET path` of the metadata server, as a library does.
    pub(crate) fn metadata(&self, path: &str) -> Answer {
        self.metadata_with(path, &[("metadata-flavor", "Google")])
    }

    /// `GET path` of the metadata server with just these headers.
    pub(crate) fn metadata_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let url = format!("http://{}{path}", self.metadata_host());
        request(Method::GET, &url, headers, String::new()).unwrap()
    }
}

/// What an agent's `adc.json` says.
pub(crate) struct CredentialFile(pub(crate) Value);

impl Agent {
    pub(crate) fn credential_file(&self) -> Option<CredentialFile> {
        let text = self.try_read("adc.json")?;
        Some(CredentialFile(serde_json::from_str(&text).unwrap()))
    }
}

impl CredentialFile {
    pub(crate) fn get(&self, field: &str) -> &str {
        self.0[field].as_str().expect("the file has this field")
    }

    /// What a library's refresh gets.
    pub(crate) fn refresh(&self) -> Answer {
        let form = format!(
            "grant_type=refresh_token&refresh_token={}",
            self.get("refresh_token")
        );
        self.post(self.get("client_id"), self.get("client_secret"), &form)
    }

    /// Any form with any name and secret.
    pub(crate) fn post(&self, name: &str, secret: &str, form: &str) -> Answer {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{secret}")));
        self.post_with(&[("authorization", &basic)], form)
    }

    pub(crate) fn post_with(&self, headers: &[(&str, &str)], form: &str) -> Answer {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/x-www-form-urlencoded"));
        request(Method::POST, self.get("token_url"), &headers, form.to_owned()).unwrap()
    }
}
