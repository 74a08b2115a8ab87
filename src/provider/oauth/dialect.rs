//! What tells one OAuth server's conversation from another's, as data.

use crate::provider::failure::FailureTable;

/// How a server wants to be asked, and what its answers come down to.
#[derive(Debug, Clone)]
pub struct Dialect {
    /// Whose server it is, in sentences: `Google`.
    pub name: String,
    /// What its refusals mean.
    pub failures: FailureTable,
    /// The setting that says where the server is, such as `google.endpoint_base`.
    pub endpoint_setting: String,
    /// The setting that names the OAuth client, such as `google.client_id`.
    pub client_setting: String,
    /// The scopes beside those that were asked for: they make the server say who consented, and give a refresh token.
    pub sign_in_scopes: Vec<String>,
    /// Parameters of the authorization request beside those of the standards.
    pub authorize_parameters: Vec<(String, String)>,
    /// The parameter by which the server adds what was granted before to the new grant. Without one, what was granted
    /// before is asked for again.
    pub adds_granted: Option<(String, String)>,
    /// New grants are bound to a key of this broker's (RFC 9449).
    pub binds_grants: bool,
    /// The authorization request names that key, so that its code is bound too (RFC 9449, section 10).
    pub names_key: bool,
    /// A refresh token stays the same however often it is used.
    pub keeps_grants: bool,
}
