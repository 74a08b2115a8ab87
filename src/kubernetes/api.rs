//! One request at a time to the Kubernetes API.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use url::Url;
use zeroize::Zeroizing;

use crate::{
    config::KubernetesApi,
    file,
    http_client::{Egress, Http, JSON, Limits, Reply, TransportError, authorities::Authorities},
    provider::{Retried, sentences},
    secret::AccessToken,
    text::{self, ShowPath},
};

/// Shorter than the kubelet's own patience of two minutes, so that the pod's events hold our sentence.
const ANSWER: Duration = Duration::from_secs(15);

/// The largest answer. A node with its images is the largest resource, and seldom a tenth of this.
const ANSWER_BYTES: usize = 2 * 1024 * 1024;
/// Longer than any service account's token.
const MAX_TOKEN: usize = 64 * 1024;
const JSON_PATCH: HeaderValue = HeaderValue::from_static("application/json-patch+json");

/// The API, not connected: the authority and the daemon's own token both rotate, and it is asked seldom enough to look at
/// them each time.
pub(super) struct Api {
    section: KubernetesApi,
    authorities: Authorities,
}

impl Api {
    /// Reads nothing yet.
    pub(super) fn new(section: &KubernetesApi) -> Self {
        Self {
            authorities: Authorities::in_file(&section.ca_file),
            section: section.clone(),
        }
    }

    /// The address of one of its resources.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.section.url.clone();
        url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
        url
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// A sentence, where there is no answer. It holds no token.
    pub(super) async fn get(&self, path: &str) -> Result<Reply, String> {
        let (http, own) = self.connection().await?;
        let url = self.url(path);
        let reply = http.get_with(&url, &own).await;
        self.answered(&url, reply)
    }

    /// Creates a resource.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub(super) async fn post(&self, path: &str, json: Zeroizing<Vec<u8>>) -> Result<Reply, String> {
        self.send((Method::POST, JSON), path, json).await
    }

    /// Changes a resource (JSON Patch, RFC 6902).
    ///
    /// # Errors
    /// As [`Api::get`].
    pub(super) async fn patch(&self, path: &str, json: Vec<u8>) -> Result<Reply, String> {
        self.send((Method::PATCH, JSON_PATCH), path, Zeroizing::new(json))
            .await
    }

    async fn send(
        &self,
        kind: (Method, HeaderValue),
        path: &str,
        json: Zeroizing<Vec<u8>>,
    ) -> Result<Reply, String> {
        let (http, own) = self.connection().await?;
        let url = self.url(path);
        let reply = http.send_json(kind, &url, json, &own).await;
        self.answered(&url, reply)
    }

    fn answered(&self, url: &Url, reply: Result<Reply, TransportError>) -> Result<Reply, String> {
        let reply = reply.map_err(|error| {
            let host = url.host_str().unwrap_or_default();
            sentences::no_answer(&format!("the Kubernetes API ({host})"), &error, Retried::ByItself)
        })?;
        if reply.status == StatusCode::UNAUTHORIZED {
            let token = self.section.token_file.shown();
            return Err(format!(
                "the Kubernetes API does not accept the daemon's own token ({token})"
            ));
        }
        Ok(reply)
    }

    async fn connection(&self) -> Result<(Http, AccessToken), String> {
        let limits = Limits {
            request: ANSWER,
            token_answer: ANSWER_BYTES,
            ..Limits::default()
        };
        if self.section.url.scheme() == "https" {
            // Said first, and by its name.
            self.authorities.current().await?;
        }
        let own = self.own_token().await?;
        Ok((Http::new(limits, Egress::trusting(self.authorities.clone())), own))
    }

    async fn own_token(&self) -> Result<AccessToken, String> {
        let path = self.section.token_file.clone();
        let read = tokio::task::spawn_blocking(move || {
            let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", path.shown());
            let token = Zeroizing::new(file::read(&path, MAX_TOKEN).map_err(unreadable)?);
            let token = text::of_file(&token).map_err(|reason| unreadable(std::io::Error::other(reason)))?;
            Ok(AccessToken::from(token.trim()))
        });
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api() -> Api {
        Api::new(&KubernetesApi {
            url: Url::parse("https://api.example/prefix/").unwrap(),
            ca_file: "/nowhere/ca.crt".into(),
            token_file: "/nowhere/token".into(),
        })
    }

    #[test]
    fn an_api_may_lie_below_a_prefix() {
        assert_eq!(
            api().url("api/v1/nodes/a").as_str(),
            "https://api.example/prefix/api/v1/nodes/a"
        );
    }

    #[tokio::test]
    async fn credentials_that_cannot_be_read_are_named() {
        let refused = api().post("x", Zeroizing::default()).await.err().unwrap();
        assert!(refused.starts_with("/nowhere/ca.crt cannot be read"), "{refused}");
    }
}
