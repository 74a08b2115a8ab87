//! Which pages explain what goes wrong at a provider and is no refusal of its own: those have a page in their row.

/// The pages (`/help/<slug>`) about a provider.
#[derive(Debug, PartialEq, Eq)]
pub struct HelpTopics {
    /// A consent was declined.
    pub declined: &'static str,
    /// A consent gave none of the permissions.
    pub nothing_granted: &'static str,
    /// A consent came without a refresh token.
    pub no_refresh_token: &'static str,
    /// What says whose an account is proves nothing.
    pub identity_unproven: &'static str,
    /// An answer that cannot be used.
    pub unusable_answer: &'static str,
    /// No answer came.
    pub no_connection: &'static str,
    /// A server that could not prove to be the provider's.
    pub certificate: &'static str,
    /// A proxy on the way wants to know who asks.
    pub proxy_credentials: &'static str,
}
