//! Where a server says that it is (`OpenID` Connect Discovery 1.0, section 4).

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::{
    address::is_at_loopback,
    cause::{DiscoveryFault, UnusableAnswer},
    dpop,
    http_client::Http,
    jws::same_issuer,
    provider::{error::ProviderError, oauth::Endpoints},
    secret::shape::without_quotes,
    text::{scrub::plain, without_bom},
};

/// What of its document is of use here. What is optional and not what it should be counts as absent.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
    #[serde(default)]
    userinfo_endpoint: Value,
    #[serde(default)]
    revocation_endpoint: Value,
    #[serde(default)]
    scopes_supported: Value,
    #[serde(default)]
    authorization_response_iss_parameter_supported: Value,
    #[serde(default)]
    dpop_signing_alg_values_supported: Value,
}

/// An address that is one; `None` for anything else.
fn address(value: &Value) -> Option<Url> {
    value.as_str()?.parse().ok()
}

/// What a server says of itself.
pub(super) struct Discovered {
    pub(super) endpoints: Endpoints,
    /// The scopes that it says it has; `None` where it does not say.
    pub(super) scopes: Option<Vec<String>>,
    /// It takes proofs of a key that are signed as the broker signs them (RFC 9449, section 5.1).
    pub(super) takes_proofs: bool,
}

/// The document's address: below the issuer, also where that has a path.
pub(super) fn document_of(issuer: &Url) -> Url {
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
        .map_err(|error| ProviderError::transport(host, error))?;
    if !reply.status.is_success() {
        return Err(ProviderError::unusable(UnusableAnswer::NoDiscovery {
            url: url.to_string(),
            status: reply.status.as_u16(),
        }));
    }
    let document = serde_json::from_slice::<Document>(without_bom(&reply.body)).map_err(|error| {
        ProviderError::discovery(DiscoveryFault::Document {
            url: url.to_string(),
            reason: without_quotes(&error.to_string()),
        })
    })?;
    judge(document, issuer)
}

/// Whether the document is the issuer's own, and sends nothing where others can read it.
fn judge(document: Document, issuer: &Url) -> Result<Discovered, ProviderError> {
    if !same_issuer(&document.issuer, issuer.as_str()) {
        return Err(ProviderError::discovery(DiscoveryFault::OtherIssuer {
            issuer: issuer.to_string(),
            found: plain(&document.issuer),
        }));
    }
    let userinfo = address(&document.userinfo_endpoint);
    let revocation = address(&document.revocation_endpoint);
    let named = [
        Some(&document.authorization_endpoint),
        Some(&document.token_endpoint),
        Some(&document.jwks_uri),
        userinfo.as_ref(),
        revocation.as_ref(),
    ];
    let at_loopback = |url: &Url| issuer.scheme() == "http" && url.scheme() == "http" && is_at_loopback(url);
    let unsafe_ = |url: &&Url| {
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        !plain || (url.scheme() != "https" && !at_loopback(url))
    };
    if let Some(url) = named.into_iter().flatten().find(unsafe_) {
        return Err(ProviderError::discovery(DiscoveryFault::OpenEndpoint {
            issuer: issuer.to_string(),
            endpoint: url.to_string(),
        }));
    }
    Ok(Discovered {
        scopes: texts(&document.scopes_supported),
        takes_proofs: texts(&document.dpop_signing_alg_values_supported)
            .is_some_and(|all| all.iter().any(|name| name == dpop::ALGORITHM)),
        endpoints: Endpoints {
            authorization: document.authorization_endpoint,
            token: document.token_endpoint,
            revocation,
            keys: document.jwks_uri,
            userinfo,
            issuers: vec![document.issuer],
            names_itself: document.authorization_response_iss_parameter_supported == Value::Bool(true),
        },
    })
}

fn texts(supported: &Value) -> Option<Vec<String>> {
    let listed = supported.as_array()?.iter();
    Some(
        listed
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
        judge(document, &issuer.parse().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_document_is_used_where_it_is_the_issuers_own() {
        let issuer = "https://acme.example/tenant";
        let found = judged(|_| {}, issuer).ok().unwrap();
        assert_eq!(found.scopes.unwrap(), ["openid", "offline_access"]);
        assert!(found.endpoints.revocation.is_none() && !found.endpoints.names_itself);
        assert!(!found.takes_proofs);
        for (listed, takes) in [
            (json!(["RS256", "ES256"]), true),
            (json!(["EdDSA"]), false),
            (json!("ES256"), false),
        ] {
            let found = judged(
                |value| value["dpop_signing_alg_values_supported"] = listed.clone(),
                issuer,
            );
            assert_eq!(found.ok().unwrap().takes_proofs, takes, "{listed}");
        }
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
            assert!(error.contains("is not plain HTTPS"), "{endpoint}: {error}");
        }
    }

    #[test]
    fn what_is_optional_spoils_nothing_and_what_is_not_is_named() {
        let issuer = "https://acme.example/tenant";
        for odd in [json!(null), json!(""), json!(7), json!({})] {
            for optional in ["scopes_supported", "userinfo_endpoint", "revocation_endpoint"] {
                let found = judged(|value| value[optional] = odd.clone(), issuer);
                assert!(found.is_ok(), "{optional}: {odd}");
            }
        }
        let mut value = document();
        value.as_object_mut().unwrap().remove("jwks_uri");
        let error = serde_json::from_value::<Document>(value).err().unwrap();
        assert!(error.to_string().contains("jwks_uri"));
        let named = judged(
            |value| value["authorization_endpoint"] = json!("https://a.example/#x"),
            issuer,
        );
        assert!(named.is_err(), "a fragment");
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
