//! Where a server says that it is (`OpenID` Connect Discovery 1.0, section 4).

use serde::Deserialize;
use url::Url;

use crate::{
    address::is_at_loopback,
    http_client::Http,
    provider::{
        error::ProviderError,
        oauth::{Endpoints, jws::same_issuer},
        scrub::plain,
    },
    text::without_bom,
};

/// What of its document is of use here.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
    userinfo_endpoint: Option<Url>,
    revocation_endpoint: Option<Url>,
    #[serde(default)]
    scopes_supported: Vec<String>,
}

/// What a server says of itself.
pub(super) struct Discovered {
    pub(super) endpoints: Endpoints,
    /// Asking for `offline_access` makes it give refresh tokens (`OpenID` Connect Core 1.0, section 11).
    pub(super) has_offline_access: bool,
}

/// The document's address: below the issuer, also where that has a path.
fn document_of(issuer: &Url) -> Url {
    let mut url = issuer.clone();
    let path = format!(
        "{}/.well-known/openid-configuration",
        issuer.path().trim_end_matches('/')
    );
    url.set_path(&path);
    url
}

/// Reads what the server at `issuer` says.
pub(super) async fn read(http: &Http, issuer: &Url) -> Result<Discovered, ProviderError> {
    let url = document_of(issuer);
    let host = url.host_str().unwrap_or_default();
    let reply = http
        .get(&url)
        .await
        .map_err(|error| ProviderError::transport(host, &error))?;
    let document = reply
        .status
        .is_success()
        .then(|| serde_json::from_slice::<Document>(without_bom(&reply.body)).ok())
        .flatten();
    let document = document.ok_or_else(|| {
        let what = format!(
            "What answers at {url} (status {}) does not say where the OAuth server's endpoints are",
            reply.status.as_u16()
        );
        ProviderError::malformed(&what)
    })?;
    judge(document, issuer)
}

/// Whether the document is the issuer's own, and sends nothing where others can read it.
fn judge(document: Document, issuer: &Url) -> Result<Discovered, ProviderError> {
    if !same_issuer(&document.issuer, issuer.as_str()) {
        let what = format!(
            "The document of {issuer} is that of the issuer `{}`, so it is not used: correct the provider's `issuer`",
            plain(&document.issuer)
        );
        return Err(ProviderError::malformed(&what));
    }
    let named = [
        Some(&document.authorization_endpoint),
        Some(&document.token_endpoint),
        Some(&document.jwks_uri),
        document.userinfo_endpoint.as_ref(),
        document.revocation_endpoint.as_ref(),
    ];
    let unsafe_ = |url: &&Url| url.scheme() != "https" && !(issuer.scheme() == "http" && is_at_loopback(url));
    if let Some(url) = named.into_iter().flatten().find(unsafe_) {
        let what = format!(
            "The document of {issuer} names the endpoint {url}, which is not HTTPS, so it is not used"
        );
        return Err(ProviderError::malformed(&what));
    }
    Ok(Discovered {
        has_offline_access: document
            .scopes_supported
            .iter()
            .any(|scope| scope == "offline_access"),
        endpoints: Endpoints {
            authorization: document.authorization_endpoint,
            token: document.token_endpoint,
            revocation: document.revocation_endpoint,
            keys: document.jwks_uri,
            userinfo: document.userinfo_endpoint,
            issuers: vec![document.issuer],
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn document() -> Value {
        json!({
            "issuer": "https://acme.example/tenant",
            "authorization_endpoint": "https://acme.example/authorize",
            "token_endpoint": "https://acme.example/token",
            "jwks_uri": "https://acme.example/keys",
            "scopes_supported": ["openid", "offline_access"],
        })
    }

    fn judged(change: impl FnOnce(&mut Value), issuer: &str) -> Result<Discovered, String> {
        let mut value = document();
        change(&mut value);
        let document = serde_json::from_value(value).unwrap();
        judge(document, &issuer.parse().unwrap()).map_err(|error| error.message)
    }

    #[test]
    fn a_document_is_used_where_it_is_the_issuers_own() {
        let issuer = "https://acme.example/tenant";
        let found = judged(|_| {}, issuer).ok().unwrap();
        assert!(found.has_offline_access && found.endpoints.revocation.is_none());
        let other = judged(|_| {}, "https://acme.example/other").err().unwrap();
        assert!(other.contains("`https://acme.example/tenant`"), "{other}");
    }

    #[test]
    fn nothing_is_sent_where_others_can_read_it() {
        for endpoint in [
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
        ] {
            let plain = |value: &mut Value| value[endpoint] = json!("http://acme.example/x");
            let error = judged(plain, "https://acme.example/tenant").err().unwrap();
            assert!(error.contains("is not HTTPS"), "{endpoint}: {error}");
        }
    }

    #[test]
    fn the_document_lies_below_the_issuer() {
        let at = |issuer: &str| document_of(&issuer.parse().unwrap()).to_string();
        assert_eq!(
            at("https://a.example"),
            "https://a.example/.well-known/openid-configuration"
        );
        assert_eq!(
            at("https://a.example/t/"),
            "https://a.example/t/.well-known/openid-configuration"
        );
    }
}
