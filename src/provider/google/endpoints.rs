//! Where Google's OAuth endpoints are, or those of a server shaped like it.

use url::Url;

use crate::{address::is_at_loopback, provider::oauth, text};

/// The addresses that the client talks to, and who signs id tokens there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Where the person's browser goes to consent.
    pub authorization: Url,
    /// Exchanges codes and refresh tokens.
    pub token: Url,
    /// Ends grants (RFC 7009).
    pub revocation: Url,
    /// The keys that id tokens are signed with (RFC 7517).
    pub keys: Url,
    /// Says whose an access token is (`OpenID` Connect Core, section 5.3).
    pub userinfo: Url,
    /// Says who signs security events, and with which keys (Cross-Account Protection).
    pub risc_configuration: Url,
    /// What `iss` of an id token may be.
    pub issuers: Vec<String>,
}

/// A base address that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBase {
    /// Not an absolute URL.
    #[error("`{0}` is not a URL: write scheme, host and port, such as `http://127.0.0.1:9005`")]
    NotUrl(String),
    /// More than scheme, host and port.
    #[error("`{0}` has to end after host and port: Google's own paths are added to it")]
    NotOrigin(String),
    /// A user name or password, which is not repeated here.
    #[error("the base address must not hold a user name or a password")]
    Credentials,
    /// Secrets would cross a network in the clear, or the scheme is not HTTP at all.
    #[error("`{0}` is neither HTTPS nor on loopback: tokens and the client secret would travel in the clear")]
    Insecure(String),
}

/// Google's token endpoint.
const GOOGLE_TOKEN: &str = "https://oauth2.googleapis.com/token";
/// What it was called before; key files and stored grants of those days name it so.
const FORMER_TOKEN: [&str; 3] = [
    "https://accounts.google.com/o/oauth2/token",
    "https://www.googleapis.com/oauth2/v3/token",
    "https://www.googleapis.com/oauth2/v4/token",
];

/// Whether a file's `token_uri` names the token endpoint that is asked. One that names none is Google's.
pub(super) fn is_token_endpoint(named: Option<&str>, asked: &str) -> bool {
    let named = named.map_or(GOOGLE_TOKEN, str::trim);
    named == asked || (asked == GOOGLE_TOKEN && FORMER_TOKEN.contains(&named))
}

const GOOGLE_ISSUERS: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];

/// The issuer whose token endpoint this is: Google, or an origin that has Google's paths.
pub(super) fn issuer_at(token_endpoint: &str) -> String {
    if token_endpoint == GOOGLE_TOKEN {
        return GOOGLE_ISSUERS[0].to_owned();
    }
    let origin = token_endpoint.strip_suffix("/token");
    origin.unwrap_or(token_endpoint).to_owned()
}

impl Endpoints {
    /// Google's own.
    #[expect(
        clippy::missing_panics_doc,
        reason = "it does not: a test reads the constants"
    )]
    pub fn google() -> Self {
        let url = |text: &str| Url::parse(text).expect("the constant is a URL, as a test shows");
        Self {
            authorization: url("https://accounts.google.com/o/oauth2/v2/auth"),
            token: url(GOOGLE_TOKEN),
            revocation: url("https://oauth2.googleapis.com/revoke"),
            keys: url("https://www.googleapis.com/oauth2/v3/certs"),
            userinfo: url("https://openidconnect.googleapis.com/v1/userinfo"),
            risc_configuration: url("https://accounts.google.com/.well-known/risc-configuration"),
            issuers: GOOGLE_ISSUERS.map(str::to_owned).to_vec(),
        }
    }

    /// What an OAuth client has to know of them.
    pub(in crate::provider) fn oauth(&self) -> oauth::Endpoints {
        oauth::Endpoints {
            authorization: self.authorization.clone(),
            token: self.token.clone(),
            revocation: Some(self.revocation.clone()),
            keys: self.keys.clone(),
            userinfo: Some(self.userinfo.clone()),
            issuers: self.issuers.clone(),
            names_itself: false,
        }
    }

    /// An address at each of the hosts that the daemon or a person's browser needs.
    pub fn servers(&self) -> Vec<Url> {
        let mut servers: Vec<Url> = Vec::new();
        for url in [&self.keys, &self.authorization, &self.token] {
            if servers.iter().all(|other| other.origin() != url.origin()) {
                servers.push(url.clone());
            }
        }
        servers
    }

    /// True for Google's own token endpoint.
    pub fn is_googles(&self) -> bool {
        self.token == Self::google().token
    }

    /// Google's own paths on another origin, such as an emulator's.
    ///
    /// # Errors
    ///
    /// `base` has to be scheme, host and port alone, and HTTPS unless the host is loopback
    /// (`127.0.0.0/8`, `::1`, `localhost`).
    pub fn with_base(base: &str) -> Result<Self, InvalidBase> {
        let shown = || text::quoted(base, 200);
        let origin = Url::parse(base).map_err(|_| InvalidBase::NotUrl(shown()))?;
        if !origin.username().is_empty() || origin.password().is_some() {
            return Err(InvalidBase::Credentials);
        }
        if origin.host().is_none() {
            return Err(InvalidBase::NotUrl(shown()));
        }
        match origin.scheme() {
            "https" => {}
            "http" if is_at_loopback(&origin) => {}
            _ => return Err(InvalidBase::Insecure(shown())),
        }
        if origin.path() != "/" || origin.query().is_some() || origin.fragment().is_some() {
            return Err(InvalidBase::NotOrigin(shown()));
        }
        let at = |path: &str| {
            let mut url = origin.clone();
            url.set_path(path);
            url
        };
        let mut issuers = GOOGLE_ISSUERS.map(str::to_owned).to_vec();
        issuers.push(origin.origin().ascii_serialization());
        Ok(Self {
            authorization: at("/o/oauth2/v2/auth"),
            token: at("/token"),
            revocation: at("/revoke"),
            keys: at("/oauth2/v3/certs"),
            userinfo: at("/v1/userinfo"),
            risc_configuration: at("/.well-known/risc-configuration"),
            issuers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_know_a_server_by_its_issuer() {
        for (endpoints, issuer) in [
            (Endpoints::google(), "https://accounts.google.com"),
            (
                Endpoints::with_base("http://127.0.0.1:9005").ok().unwrap(),
                "http://127.0.0.1:9005",
            ),
        ] {
            assert_eq!(issuer_at(endpoints.token.as_str()), issuer);
        }
    }

    #[test]
    fn googles_own_addresses_are_https() {
        let endpoints = Endpoints::google();
        for url in [
            endpoints.authorization,
            endpoints.token,
            endpoints.revocation,
            endpoints.keys,
            endpoints.userinfo,
            endpoints.risc_configuration,
        ] {
            assert_eq!(url.scheme(), "https");
        }
    }

    #[test]
    fn former_names_of_googles_endpoint_are_its_own_and_nobody_elses() {
        let google = Endpoints::google().token;
        let emulator = Endpoints::with_base("http://127.0.0.1:9005").unwrap().token;
        for named in [
            None,
            Some("https://oauth2.googleapis.com/token"),
            Some("https://accounts.google.com/o/oauth2/token"),
            Some("https://www.googleapis.com/oauth2/v3/token"),
            Some("https://www.googleapis.com/oauth2/v4/token "),
        ] {
            assert!(is_token_endpoint(named, google.as_str()), "{named:?}");
            assert!(!is_token_endpoint(named, emulator.as_str()), "{named:?}");
        }
        assert!(is_token_endpoint(Some(emulator.as_str()), emulator.as_str()));
        for other in [
            "http://accounts.google.com/o/oauth2/token",
            "https://evil.example/token",
            "",
        ] {
            assert!(!is_token_endpoint(Some(other), google.as_str()), "{other}");
        }
    }

    #[test]
    fn a_base_carries_googles_paths_and_signs_in_its_own_name() {
        let endpoints = Endpoints::with_base("http://127.0.0.1:9005").unwrap();
        assert_eq!(
            endpoints.authorization.as_str(),
            "http://127.0.0.1:9005/o/oauth2/v2/auth"
        );
        assert_eq!(endpoints.token.as_str(), "http://127.0.0.1:9005/token");
        assert_eq!(endpoints.revocation.as_str(), "http://127.0.0.1:9005/revoke");
        assert_eq!(endpoints.keys.as_str(), "http://127.0.0.1:9005/oauth2/v3/certs");
        assert_eq!(endpoints.userinfo.as_str(), "http://127.0.0.1:9005/v1/userinfo");
        assert_eq!(
            endpoints.risc_configuration.as_str(),
            "http://127.0.0.1:9005/.well-known/risc-configuration"
        );
        assert!(endpoints.issuers.contains(&"http://127.0.0.1:9005".to_owned()));
        assert!(
            endpoints
                .issuers
                .contains(&"https://accounts.google.com".to_owned())
        );
    }

    #[test]
    fn loopback_may_be_plain_and_everything_else_is_https() {
        for good in [
            "http://127.0.0.1:9005",
            "http://127.9.9.9:1/",
            "http://[::1]:9005",
            "http://localhost:9005",
            "https://oauth.example.com",
            "https://10.0.0.1:8443",
        ] {
            assert!(Endpoints::with_base(good).is_ok(), "{good}");
        }
        for bad in [
            "http://10.0.0.1",
            "http://example.com",
            "http://localhost.example.com",
            "http://0.0.0.0:9005",
            "http://128.0.0.1",
            "http://[::2]",
            "ftp://127.0.0.1",
            "ws://localhost",
        ] {
            assert!(
                matches!(Endpoints::with_base(bad), Err(InvalidBase::Insecure(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_base_is_an_origin_and_nothing_else() {
        for bad in [
            "http://127.0.0.1:9005/oauth",
            "http://127.0.0.1:9005/?a=b",
            "http://127.0.0.1:9005/#a",
        ] {
            assert!(
                matches!(Endpoints::with_base(bad), Err(InvalidBase::NotOrigin(_))),
                "{bad}"
            );
        }
        for bad in ["", "127.0.0.1:9005", "http://", "/token"] {
            assert!(
                matches!(Endpoints::with_base(bad), Err(InvalidBase::NotUrl(_))),
                "{bad}"
            );
        }
        let error = Endpoints::with_base("http://user:hunter2@127.0.0.1:9005").unwrap_err();
        assert_eq!(error, InvalidBase::Credentials);
        assert!(!error.to_string().contains("hunter2"));
    }
}
