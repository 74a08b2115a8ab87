//! Where an OAuth server is.

use url::Url;

/// The addresses that a client talks to, and who signs id tokens there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Where the person's browser goes to consent.
    pub authorization: Url,
    /// Exchanges codes and refresh tokens.
    pub token: Url,
    /// Ends grants (RFC 7009), where the server can do that.
    pub revocation: Option<Url>,
    /// The keys that id tokens are signed with (RFC 7517).
    pub keys: Url,
    /// Says whose an access token is (`OpenID` Connect Core, section 5.3).
    pub userinfo: Option<Url>,
    /// What `iss` of an id token may be.
    pub issuers: Vec<String>,
    /// Its answers to consents always name it (RFC 9207, section 3).
    pub names_itself: bool,
}
