//! Requests to a Vault or OpenBao server, with the token that lies in a file at that moment.

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;
use zeroize::Zeroizing;

use crate::{
    config::TransitSection,
    http_client::{Egress, Http, Limits, Reply, authorities::Authorities},
    seal::error::Problem,
    secret::AccessToken,
    text::scrub::scrub,
};

use super::answer::{Answer, Errors};

const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Servers and agents can be told to answer nobody without it, so that no request is made for a program by mistake.
const REQUEST: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-vault-request"),
    HeaderValue::from_static("true"),
);
/// What is said of a ciphertext that is not one of the key's.
const ALTERED: [&str; 2] = ["message authentication failed", "invalid ciphertext"];

/// A Transit engine.
pub(super) struct Server {
    /// Its mount.
    engine: Url,
    section: TransitSection,
    http: Http,
}

/// Why a request was not done. Holds no secret.
#[derive(Debug)]
pub(super) struct Failure {
    /// What was answered; `None` where nothing of use was.
    status: Option<StatusCode>,
    reason: String,
}

impl Failure {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            status: None,
            reason: reason.into(),
        }
    }

    /// The token's policy does not allow it, or the token is none.
    pub(super) fn is_forbidden(&self) -> bool {
        self.status == Some(StatusCode::FORBIDDEN)
    }

    /// A failure to decrypt, where the ciphertext may be what is wrong.
    pub(super) fn of_ciphertext(self) -> Problem {
        let is_altered = ALTERED.iter().any(|said| self.reason.contains(said));
        if self.status == Some(StatusCode::BAD_REQUEST) && is_altered {
            return Problem::Wrong(format!(
                "{} (it was altered, or another key has the name of the one that wrapped it)",
                self.reason
            ));
        }
        self.into()
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::Away(failure.reason)
    }
}

impl Server {
    pub(super) fn new(engine: Url, section: &TransitSection, limits: Limits) -> anyhow::Result<Self> {
        let egress = Egress::from_environment(|name| std::env::var(name).ok())?;
        let egress = match &section.ca_file {
            Some(file) => egress.vouched_for_by(Authorities::in_file(file)),
            None => egress,
        };
        Ok(Self {
            engine,
            section: section.clone(),
            http: Http::new(limits, egress),
        })
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(Method::GET, path, Zeroizing::default(), "").await
    }

    /// Sends one field. Whatever it is, no error repeats it.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        (field, value): (&str, &str),
    ) -> Result<T, Failure> {
        // With room for all of it, since growing would leave a copy behind: no character of these values is escaped.
        let mut json = Zeroizing::new(Vec::with_capacity(field.len() + value.len() + 8));
        let fields = HashMap::from([(field, value)]);
        serde_json::to_writer(&mut *json, &fields).map_err(|error| Failure::new(error.to_string()))?;
        self.ask(Method::POST, path, json, value).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        json: Zeroizing<Vec<u8>>,
        sent: &str,
    ) -> Result<T, Failure> {
        let token = self.token().await?;
        let mut url = self.engine.clone();
        url.set_path(&format!("{}/{path}", self.engine.path()));
        let reply = self
            .http
            .send_with((method, &url), json, &token, self.headers())
            .await;
        let host = url.host_str().unwrap_or_default();
        let reply = reply.map_err(|error| Failure::new(error.sentence(host).trim_end_matches('.')))?;
        if reply.status != StatusCode::OK {
            return Err(refused(host, &reply, &[token.expose(), sent]));
        }
        let answer = serde_json::from_slice(&reply.body).map(|Answer { data }| data);
        answer.map_err(|_| {
            Failure::new(format!(
                "what {host} answers is no answer of a Transit engine: see that the address in key.source is the key's"
            ))
        })
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::from_iter([REQUEST]);
        let namespace = self.section.namespace.as_deref();
        if let Some(namespace) = namespace.and_then(|namespace| HeaderValue::from_str(namespace).ok()) {
            headers.insert(NAMESPACE, namespace);
        }
        headers
    }

    /// The token that is in its file now: who keeps it fresh exchanges it.
    async fn token(&self) -> Result<AccessToken, Failure> {
        let section = self.section.clone();
        let read = tokio::task::spawn_blocking(move || section.token()).await;
        match read {
            Ok(token) => token.map_err(|error| Failure::new(error.to_string())),
            Err(error) => Err(Failure::new(error.to_string())),
        }
    }
}

/// What the server said instead, in one line, and what to do.
fn refused(host: &str, reply: &Reply, secrets: &[&str]) -> Failure {
    let errors: Option<Errors> = serde_json::from_slice(&reply.body).ok();
    let said = errors.map(|said| said.errors.join("; ")).unwrap_or_default();
    let said = match scrub(&said, secrets) {
        said if said.is_empty() => String::new(),
        said => format!(" ({said})"),
    };
    let what_to_do = match reply.status.as_u16() {
        300..400 => ": it sends elsewhere; name the active server's own address in key.source",
        403 => {
            ": see that the token in key.transit_token_file is one that its policy lets encrypt and decrypt with this key"
        }
        404 => ": see that the engine is mounted there, and that the key is there",
        429 => ": it takes no more requests for now",
        503 => ": unseal it, or wait until it is back",
        _ => "",
    };
    Failure {
        status: Some(reply.status),
        reason: format!("{host} answers {}{said}{what_to_do}", reply.status.as_u16()),
    }
}
