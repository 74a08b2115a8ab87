//! The address that a person's browser opens to consent.

use oauth2::{
    AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, basic::BasicClient,
};

use crate::{
    capability::{Scope, ScopeSet},
    dpop::ProofKey,
    entropy::Entropy,
    provider::{
        Consent, ConsentRequest,
        oauth::{dialect::Dialect, options::ClientOptions},
    },
};

/// Begins a consent: a fresh state, nonce and verifier, and the address that carries them.
pub(super) fn consent(
    options: &ClientOptions,
    entropy: &dyn Entropy,
    request: &ConsentRequest<'_>,
) -> Consent {
    let verifier = PkceCodeVerifier::new(entropy.token());
    let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
    let nonce = entropy.token();
    let oauth = BasicClient::new(ClientId::new(options.client_id.clone()))
        .set_auth_uri(AuthUrl::from_url(options.endpoints.authorization.clone()))
        .set_redirect_uri(RedirectUrl::from_url(options.redirect_uri.clone()));
    let dialect = &options.dialect;
    let scopes = scopes(dialect, request);
    let mut url = oauth
        .authorize_url(|| CsrfToken::new(entropy.token()))
        .set_pkce_challenge(challenge)
        .add_scopes(scopes.iter().map(|scope| oauth2::Scope::new(scope.to_string())))
        .add_extra_param("nonce", nonce.as_str());
    for (name, value) in dialect.authorize_parameters.iter().chain(&dialect.adds_granted) {
        url = url.add_extra_param(name.as_str(), value.as_str());
    }
    if let Some(account) = request.login_hint {
        url = url.add_extra_param("login_hint", account);
    }
    let proof_key = dialect.binds_grants.then(ProofKey::generate);
    let thumbprint = proof_key.as_ref().filter(|_| dialect.names_key);
    if let Some(thumbprint) = thumbprint.map(ProofKey::thumbprint) {
        url = url.add_extra_param("dpop_jkt", thumbprint);
    }
    let (authorization_url, state) = url.url();
    Consent {
        authorization_url,
        state: state.into_secret().into(),
        nonce,
        verifier: verifier.into_secret().into(),
        proof_key,
        cumulative: dialect.adds_granted.is_some(),
    }
}

/// Where the server does not add what was granted before, it is asked for again.
fn scopes(dialect: &Dialect, request: &ConsentRequest<'_>) -> ScopeSet {
    let identity: ScopeSet = dialect
        .sign_in_scopes
        .iter()
        .filter_map(|scope| scope.parse::<Scope>().ok())
        .collect();
    let asked = request.scopes.union(&identity);
    match (&dialect.adds_granted, request.granted) {
        (None, Some(granted)) => {
            let granted = granted.iter().filter(|scope| !scope.is_sign_in());
            asked.union(&granted.cloned().collect())
        }
        _ => asked,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

    use super::*;
    use crate::{
        config::ClientType,
        entropy::SystemEntropy,
        http_client::{Egress, Limits},
        provider::google::{self, Endpoints},
    };

    fn options(client_type: ClientType) -> ClientOptions {
        ClientOptions {
            client_id: "id.apps.googleusercontent.com".into(),
            client_secret: Some("canary-client-secret".into()),
            redirect_uri: "http://127.0.0.1:8420/oauth/callback".parse().unwrap(),
            endpoints: Endpoints::google().oauth(),
            dialect: Arc::new(google::client::dialect(client_type, &Endpoints::google())),
            limits: Limits::default(),
            egress: Egress::default(),
        }
    }

    fn set(text: &str) -> ScopeSet {
        ScopeSet::parse(text).unwrap()
    }

    fn begin(client_type: ClientType, granted: Option<&ScopeSet>) -> (Consent, BTreeMap<String, String>) {
        let request = ConsentRequest {
            scopes: &set("https://www.googleapis.com/auth/gmail.send"),
            granted,
            login_hint: Some("alice@example.com"),
        };
        let consent = consent(&options(client_type), &SystemEntropy, &request);
        let pairs: Vec<_> = consent.authorization_url.query_pairs().into_owned().collect();
        let count = pairs.len();
        let query: BTreeMap<_, _> = pairs.into_iter().collect();
        assert_eq!(query.len(), count, "no parameter twice");
        (consent, query)
    }

    #[test]
    fn a_web_client_asks_for_the_union_and_proves_itself() {
        let granted = set("https://www.googleapis.com/auth/drive");
        let (consent, query) = begin(ClientType::Web, Some(&granted));
        assert!(consent.cumulative);
        assert!(
            consent
                .authorization_url
                .as_str()
                .starts_with("https://accounts.google.com/o/oauth2/v2/auth?")
        );
        let digest =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, consent.verifier.expose().as_bytes());
        let expected = BTreeMap::from(
            [
                ("response_type", "code"),
                ("client_id", "id.apps.googleusercontent.com"),
                ("redirect_uri", "http://127.0.0.1:8420/oauth/callback"),
                ("scope", "email https://www.googleapis.com/auth/gmail.send openid"),
                ("state", consent.state.expose()),
                ("nonce", &consent.nonce),
                ("code_challenge", &BASE64_URL_SAFE_NO_PAD.encode(digest)),
                ("code_challenge_method", "S256"),
                ("access_type", "offline"),
                ("prompt", "consent"),
                ("include_granted_scopes", "true"),
                ("login_hint", "alice@example.com"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        assert_eq!(query, expected);
        let url = consent.authorization_url.as_str();
        assert!(!url.contains(consent.verifier.expose()) && !url.contains("canary-client-secret"));
    }

    #[test]
    fn a_desktop_client_asks_for_old_and_new_together() {
        let granted = set(
            "openid https://www.googleapis.com/auth/drive https://www.googleapis.com/auth/userinfo.email",
        );
        let (consent, query) = begin(ClientType::Desktop, Some(&granted));
        assert!(!consent.cumulative);
        assert_eq!(
            query["scope"],
            "email https://www.googleapis.com/auth/drive https://www.googleapis.com/auth/gmail.send openid"
        );
        assert!(!query.contains_key("include_granted_scopes"));
    }

    #[test]
    fn every_consent_is_fresh() {
        let (one, _) = begin(ClientType::Web, None);
        let (two, _) = begin(ClientType::Web, None);
        assert!(one.state != two.state);
        assert!(one.verifier != two.verifier);
        assert_ne!(one.nonce, two.nonce);
        assert_ne!(one.state.expose(), one.nonce);
        assert_ne!(one.state.expose(), one.verifier.expose());
    }
}
