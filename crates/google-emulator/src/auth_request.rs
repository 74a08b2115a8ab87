//! What an app asks for at the authorization endpoint, read and checked.

use std::collections::BTreeSet;

use http::StatusCode;
use url::Url;

use crate::{
    core::Core,
    ids::ClientId,
    loopback::is_at_loopback,
    message::{Params, Reply, redirect},
    options::{Client, ClientType},
    scope,
    state::Offline,
};

/// Parameters that may be given once only (RFC 6749, section 3.1).
const SINGLE: &[&str] = &[
    "client_id",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
    "access_type",
    "prompt",
    "login_hint",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "include_granted_scopes",
];

/// An error that is shown and not sent back.
#[derive(Debug)]
pub(crate) struct Blocked {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
    pub(crate) detail: String,
}

impl Blocked {
    pub(crate) fn new(status: StatusCode, error: &str, detail: impl Into<String>) -> Self {
        Self {
            status,
            error: error.to_owned(),
            detail: detail.into(),
        }
    }

    fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    }
}

/// What an app asks for.
pub(crate) struct AuthRequest<'a> {
    pub(crate) client: ClientId,
    pub(crate) client_kind: ClientType,
    pub(crate) redirect_uri: &'a str,
    pub(crate) redirect: Url,
    /// In the order in which they were asked for, under their canonical names.
    pub(crate) scopes: Vec<String>,
    pub(crate) state: Option<&'a str>,
    pub(crate) challenge: Option<&'a str>,
    pub(crate) nonce: Option<&'a str>,
    pub(crate) login_hint: Option<&'a str>,
    pub(crate) prompts: BTreeSet<&'a str>,
    offline: bool,
    pub(crate) include_granted: bool,
}

impl<'a> AuthRequest<'a> {
    /// Reads and checks a request; what is wrong with it is shown and not sent back, since nothing in it can
    /// be trusted yet.
    pub(crate) fn parse(core: &Core, query: &'a Params) -> Result<Self, Blocked> {
        if let Some(name) = query.repeated(SINGLE) {
            return Err(Blocked::invalid(format!(
                "OAuth 2 parameters can only have a single value: {name}"
            )));
        }
        let required = |name: &str| {
            query
                .get(name)
                .ok_or_else(|| Blocked::invalid(format!("Required parameter is missing: {name}")))
        };
        let (client, registered) = core.client(required("client_id")?).ok_or_else(|| {
            Blocked::new(
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                "The OAuth client was not found.",
            )
        })?;
        let redirect_uri = required("redirect_uri")?;
        let redirect = check_redirect(registered, redirect_uri)?;
        match required("response_type")? {
            "code" => {}
            other => {
                let detail = format!("Invalid response_type: {other}");
                return Err(Blocked::new(
                    StatusCode::BAD_REQUEST,
                    "unsupported_response_type",
                    detail,
                ));
            }
        }
        Ok(Self {
            client,
            client_kind: registered.kind,
            redirect_uri,
            redirect,
            scopes: check_scopes(required("scope")?)?,
            state: query.get("state"),
            challenge: check_challenge(core, query)?,
            nonce: query.get("nonce"),
            login_hint: query.get("login_hint"),
            prompts: query
                .get("prompt")
                .unwrap_or_default()
                .split_whitespace()
                .collect(),
            offline: query.get("access_type") == Some("offline"),
            include_granted: query.get("include_granted_scopes") == Some("true"),
        })
    }

    /// Whether the consent yields a refresh token.
    pub(crate) fn offline(&self) -> Offline {
        match self.client_kind {
            ClientType::Desktop => Offline::Always,
            ClientType::Web if !self.offline => Offline::Never,
            ClientType::Web if self.prompts.contains("consent") => Offline::Always,
            ClientType::Web => Offline::First,
        }
    }

    /// The browser goes back to the app with an error (RFC 6749, section 4.1.2.1).
    pub(crate) fn send_back(&self, error: &str) -> Reply {
        let mut location = self.redirect.clone();
        location.query_pairs_mut().append_pair("error", error);
        if let Some(state) = self.state {
            location.query_pairs_mut().append_pair("state", state);
        }
        redirect(&location)
    }
}

fn check_redirect(client: &Client, redirect_uri: &str) -> Result<Url, Blocked> {
    let mismatch = || {
        let detail = format!("The redirect URI {redirect_uri} is not registered for this client.");
        Blocked::new(StatusCode::BAD_REQUEST, "redirect_uri_mismatch", detail)
    };
    let url = Url::parse(redirect_uri).map_err(|_| mismatch())?;
    let registered = if client.redirect_uris.is_empty() {
        url.scheme() == "http" && url.fragment().is_none() && is_at_loopback(&url)
    } else {
        client.redirect_uris.iter().any(|known| known == redirect_uri)
    };
    registered.then_some(url).ok_or_else(mismatch)
}

fn check_scopes(text: &str) -> Result<Vec<String>, Blocked> {
    let (valid, invalid): (Vec<&str>, Vec<&str>) =
        text.split_whitespace().partition(|name| scope::is_known(name));
    if !invalid.is_empty() {
        let detail = format!("Some requested scopes were invalid. {{valid={valid:?}, invalid={invalid:?}}}");
        return Err(Blocked::new(StatusCode::BAD_REQUEST, "invalid_scope", detail));
    }
    let mut scopes: Vec<String> = Vec::new();
    for name in valid.into_iter().map(scope::canonical) {
        if !scopes.contains(&name) {
            scopes.push(name);
        }
    }
    Ok(scopes)
}

/// PKCE (RFC 7636) with S256 alone: `plain` protects nothing.
fn check_challenge<'a>(core: &Core, query: &'a Params) -> Result<Option<&'a str>, Blocked> {
    let challenge = query.get("code_challenge");
    match (challenge, query.get("code_challenge_method")) {
        (None, _) if core.require_pkce => {
            Err(Blocked::invalid("Required parameter is missing: code_challenge"))
        }
        (None, _) => Ok(None),
        (Some(value), Some("S256")) if value.len() == 43 => Ok(challenge),
        (Some(_), Some("S256")) => Err(Blocked::invalid("code_challenge is not a SHA-256 in base64url.")),
        (Some(_), method) => {
            let method = method.unwrap_or("plain");
            Err(Blocked::invalid(format!(
                "code_challenge_method is {method}, S256 is required."
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(redirect_uris: &[&str]) -> Client {
        let redirect_uris = redirect_uris.iter().map(|uri| (*uri).to_owned()).collect();
        Client {
            id: "c".into(),
            secret: "s".into(),
            kind: ClientType::Web,
            redirect_uris,
        }
    }

    #[test]
    fn registered_redirects_are_compared_exactly() {
        let client = client(&["https://app.example/cb"]);
        assert!(check_redirect(&client, "https://app.example/cb").is_ok());
        for other in [
            "https://app.example/cb/",
            "https://app.example/CB",
            "http://127.0.0.1:1/cb",
        ] {
            assert_eq!(
                check_redirect(&client, other).unwrap_err().error,
                "redirect_uri_mismatch"
            );
        }
    }

    #[test]
    fn without_registration_loopback_alone_is_good() {
        for good in [
            "http://127.0.0.1:8420/oauth/callback",
            "http://localhost:1/",
            "http://[::1]:2/x",
        ] {
            assert!(check_redirect(&client(&[]), good).is_ok(), "{good}");
        }
        for bad in [
            "https://127.0.0.1/",
            "http://localhost.example.com/",
            "http://10.0.0.1/",
            "x:/y",
        ] {
            assert!(check_redirect(&client(&[]), bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn scopes_are_canonical_and_unknown_ones_are_named() {
        let scopes = check_scopes("openid email https://www.googleapis.com/auth/userinfo.email").unwrap();
        assert_eq!(
            scopes,
            ["openid", "https://www.googleapis.com/auth/userinfo.email"]
        );
        assert!(
            check_scopes("openid gmail")
                .unwrap_err()
                .detail
                .contains("invalid=[\"gmail\"]")
        );
    }
}
