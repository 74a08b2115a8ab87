//! A small HTTP client that plays the person's browser and the agents' API calls.

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::secret::AccessToken;

/// The client. It follows redirects only where it is told to.
pub(super) struct Visitor(Client<HttpConnector, Full<Bytes>>);

impl Visitor {
    pub(super) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    /// Opens `url` as a browser does: follows redirects to their end.
    pub(super) async fn browse(&self, url: &str) -> anyhow::Result<StatusCode> {
        let mut url = url.to_owned();
        for _ in 0..5 {
            let answer = self.0.request(Request::get(&url).body(Full::default())?).await?;
            if !answer.status().is_redirection() {
                return Ok(answer.status());
            }
            let location = answer
                .headers()
                .get(header::LOCATION)
                .context("a redirect without an address")?;
            location.to_str()?.clone_into(&mut url);
        }
        anyhow::bail!("too many redirects")
    }

    /// Calls an API with a token; the status says whether it may.
    pub(super) async fn call(
        &self,
        url: &str,
        token: &AccessToken,
        body: Option<&'static str>,
    ) -> anyhow::Result<StatusCode> {
        let request = match body {
            Some(_) => Request::post(url).header(header::CONTENT_TYPE, "application/json"),
            None => Request::get(url),
        };
        let mut bearer = header::HeaderValue::from_str(&format!("Bearer {}", token.expose()))?;
        bearer.set_sensitive(true);
        let request = request.header(header::AUTHORIZATION, bearer);
        let request = request.body(Full::from(body.unwrap_or_default()))?;
        Ok(self.0.request(request).await?.status())
    }
}
