//! The authorization endpoint: what an app asks for, and what a person decides.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use url::{Host, Url};

use super::{
    consent,
    core::{Core, ISSUER},
    fault::Fault,
    message::{Call, Params, Reply, redirect, wrong_method},
    options::{Client, ClientType},
    scope,
    state::{AccountId, ClientId, Decision, Offline},
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

/// Errors that Google shows on a page of its own, without sending the browser back.
const SHOWN: &[&str] = &[
    "admin_policy_enforced",
    "deleted_client",
    "disallowed_useragent",
    "invalid_client",
    "invalid_request",
    "invalid_scope",
    "org_internal",
    "redirect_uri_mismatch",
    "unsupported_response_type",
];

/// An error that is shown and not sent back.
#[derive(Debug)]
pub(super) struct Blocked {
    pub(super) status: StatusCode,
    pub(super) error: String,
    pub(super) detail: String,
}

impl Blocked {
    fn new(status: StatusCode, error: &str, detail: impl Into<String>) -> Self {
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
pub(super) struct AuthRequest<'a> {
    pub(super) client: ClientId,
    pub(super) client_kind: ClientType,
    redirect_uri: &'a str,
    redirect: Url,
    /// In the order in which they were asked for, under their canonical names.
    pub(super) scopes: Vec<String>,
    state: Option<&'a str>,
    challenge: Option<&'a str>,
    nonce: Option<&'a str>,
    pub(super) login_hint: Option<&'a str>,
    prompts: BTreeSet<&'a str>,
    offline: bool,
    include_granted: bool,
}

/// Answers `/o/oauth2/v2/auth`: a page, or the way back to the app.
pub(super) fn answer(core: &Core, call: &Call) -> Reply {
    let request = match AuthRequest::parse(core, &call.query) {
        Ok(request) => request,
        Err(blocked) => return consent::blocked_page(&blocked),
    };
    match call.method {
        Method::GET => start(core, &request),
        Method::POST => decided(core, &request, &call.form),
        _ => wrong_method("GET, POST"),
    }
}

/// Answers with a fault's error as Google would: on its own page, or in the redirect.
pub(super) fn refuse(core: &Core, call: &Call, fault: &Fault) -> Reply {
    let error = fault.error.as_deref().unwrap_or("server_error");
    let detail = fault.error_description.clone().unwrap_or_default();
    match AuthRequest::parse(core, &call.query) {
        Ok(request) if !SHOWN.contains(&error) => request.send_back(error),
        Ok(_) => consent::blocked_page(&Blocked::new(fault.status(), error, detail)),
        Err(blocked) => consent::blocked_page(&blocked),
    }
}

/// The account that a request is about, as far as it says.
pub(super) fn account_named(call: &Call) -> Option<&str> {
    call.form.get("account").or_else(|| call.query.get("login_hint"))
}

/// A browser arrives: consent without a page, or the page.
fn start(core: &Core, request: &AuthRequest<'_>) -> Reply {
    let mut state = core.state();
    if let Some(policy) = state.behaviour.auto_approve.clone() {
        let chosen = policy
            .account
            .as_deref()
            .or(request.login_hint)
            .and_then(|name| state.find(name));
        let account = chosen.or_else(|| state.accounts().next().map(|(id, _)| id));
        drop(state);
        let Some(account) = account else {
            return request.send_back("access_denied");
        };
        let unticked: BTreeSet<String> = policy.untick.iter().map(|name| scope::canonical(name)).collect();
        let ticked = request
            .scopes
            .iter()
            .filter(|name| !unticked.contains(*name))
            .cloned()
            .collect();
        return approve(core, request, account, ticked);
    }
    if request.prompts.contains("none") {
        let account = request.login_hint.and_then(|name| state.find(name));
        let granted = account.filter(|id| {
            let consent = state.account_mut(*id).consents.get(&request.client);
            consent.is_some_and(|consent| request.scopes.iter().all(|name| consent.scopes.contains(name)))
        });
        drop(state);
        return match granted {
            Some(account) => approve(core, request, account, request.scopes.iter().cloned().collect()),
            None => request.send_back("interaction_required"),
        };
    }
    consent::page(core, &state, request, None)
}

/// A person has decided: the form of the consent page, from a browser or a script.
fn decided(core: &Core, request: &AuthRequest<'_>, form: &Params) -> Reply {
    match form.get("decision") {
        Some("allow") => {}
        Some("deny") => return request.send_back("access_denied"),
        _ => return consent::page(core, &core.state(), request, Some("Choose Allow or Cancel.")),
    }
    let account = form.get("account").and_then(|name| core.state().find(name));
    let Some(account) = account else {
        return consent::page(core, &core.state(), request, Some("Choose an account."));
    };
    let boxes: BTreeSet<String> = form.all("scope").map(scope::canonical).collect();
    let ticked = request
        .scopes
        .iter()
        .filter(|name| scope::is_sign_in(name) || boxes.contains(*name));
    approve(core, request, account, ticked.cloned().collect())
}

/// Records the consent and sends the browser back with a code.
fn approve(core: &Core, request: &AuthRequest<'_>, account: AccountId, ticked: BTreeSet<String>) -> Reply {
    if ticked.is_empty() {
        return request.send_back("access_denied");
    }
    let code = core.new_code();
    let decision = Decision {
        client: request.client,
        account,
        ticked,
        // Google does not support incremental authorization for installed apps.
        include_granted: request.include_granted && request.client_kind == ClientType::Web,
        offline: request.offline(),
        redirect_uri: request.redirect_uri,
        challenge: request.challenge,
        nonce: request.nonce,
    };
    let granted = core.state().approve(decision, code.expose(), core.now());
    let mut location = request.redirect.clone();
    {
        let mut query = location.query_pairs_mut();
        if let Some(state) = request.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", ISSUER);
        query.append_pair("code", code.expose());
        query.append_pair("scope", &granted.text);
        query.append_pair("authuser", "0");
        query.append_pair(
            "prompt",
            if request.prompts.contains("none") {
                "none"
            } else {
                "consent"
            },
        );
    }
    redirect(&location)
}

impl<'a> AuthRequest<'a> {
    /// Reads and checks a request; what is wrong with it is shown and not sent back, since nothing in it can
    /// be trusted yet.
    fn parse(core: &Core, query: &'a Params) -> Result<Self, Blocked> {
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

    fn offline(&self) -> Offline {
        match self.client_kind {
            ClientType::Desktop => Offline::Always,
            ClientType::Web if !self.offline => Offline::Never,
            ClientType::Web if self.prompts.contains("consent") => Offline::Always,
            ClientType::Web => Offline::First,
        }
    }

    /// The browser goes back to the app with an error (RFC 6749, section 4.1.2.1).
    fn send_back(&self, error: &str) -> Reply {
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
        url.scheme() == "http" && url.fragment().is_none() && is_loopback(&url)
    } else {
        client.redirect_uris.iter().any(|known| known == redirect_uri)
    };
    registered.then_some(url).ok_or_else(mismatch)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
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
