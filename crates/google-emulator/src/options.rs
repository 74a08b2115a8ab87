//! What an emulator is told when it starts.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::time::Clock;

/// How long Google's access tokens live.
pub const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_secs(3599);

/// How many live refresh tokens Google keeps for one account and client.
pub const DEFAULT_TOKEN_CAP: usize = 100;

/// What kind of OAuth client it is, as Google's console asks when one is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientType {
    /// A web application: incremental consent works, and a refresh token takes `access_type=offline`.
    #[default]
    Web,
    /// A desktop application: always gets a refresh token, `include_granted_scopes` does nothing.
    Desktop,
}

/// Whether a refresh yields a new refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rotation {
    /// Never, as Google does.
    #[default]
    Off,
    /// Always; the previous token stays valid until the new one is first used.
    Leeway,
    /// Always; using a spent token again ends the whole family (RFC 9700, section 4.14.2).
    Strict,
}

/// A person's Google account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The address, such as `alice@example.com`.
    pub email: String,
    /// The stable identifier that an id token names.
    pub sub: String,
}

impl Account {
    /// An account whose `sub` is derived from its address, so that it is the same in every run.
    pub fn new(email: &str) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, email.as_bytes());
        let number = digest
            .as_ref()
            .iter()
            .take(8)
            .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        Self {
            email: email.to_owned(),
            sub: format!("1{number:020}"),
        }
    }
}

/// One OAuth client of the emulated Google project.
#[derive(Debug, Clone)]
pub struct Client {
    /// The client id.
    pub id: String,
    /// The client secret.
    pub secret: String,
    /// Web or desktop.
    pub kind: ClientType,
    /// The registered redirect URIs, compared exactly; empty accepts every loopback `http` URI.
    pub redirect_uris: Vec<String>,
}

/// Consent without a page, for scripts and tests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AutoApprove {
    /// Who consents (address or `sub`): otherwise the `login_hint`, otherwise the first account.
    pub account: Option<String>,
    /// Scopes that the person unticks.
    pub untick: Vec<String>,
}

/// What an emulator is told when it starts. The default is a Google project with one web client and
/// two people.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, not a state")]
pub struct Options {
    /// Where Google's endpoints and APIs are served; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where faults are ordered and state is read; port 0 takes a free one.
    pub control: SocketAddr,
    /// Lets both listeners leave loopback.
    pub allow_non_loopback: bool,
    /// The origin under which clients reach `listen`, where it is not `http://` and the bound address.
    pub public_url: Option<String>,
    /// The Google project, whose clients share what a person granted.
    pub project_id: String,
    /// What the consent page calls the app.
    pub app_name: String,
    /// The client id.
    pub client_id: String,
    /// The client secret.
    pub client_secret: String,
    /// Web or desktop.
    pub client_type: ClientType,
    /// The registered redirect URIs, compared exactly; empty accepts every loopback `http` URI.
    pub redirect_uris: Vec<String>,
    /// More clients of the same project.
    pub other_clients: Vec<Client>,
    /// Refuses an authorization request without a PKCE challenge. Google itself tolerates one.
    pub require_pkce: bool,
    /// The life of an access token, in whole seconds.
    pub token_lifetime: Duration,
    /// Whether a refresh yields a new refresh token.
    pub rotation: Rotation,
    /// An external consent screen in Testing: refresh tokens die after seven days.
    pub testing_mode: bool,
    /// How many live refresh tokens one account and client may have; the oldest one goes, silently.
    pub token_cap: usize,
    /// Signs a new id token at each refresh of a grant with `openid`, as Google does. Off, because an RSA
    /// signature costs more than all the rest of a refresh.
    pub id_token_on_refresh: bool,
    /// Who has an account.
    pub accounts: Vec<Account>,
    /// Consents without showing a page.
    pub auto_approve: Option<AutoApprove>,
    /// Where security events are pushed to, over plain HTTP.
    pub risc_receiver: Option<String>,
    /// Where it reads the time.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: loopback(9005),
            control: loopback(0),
            allow_non_loopback: false,
            public_url: None,
            project_id: "google-emulator".to_owned(),
            app_name: "Emulated app".to_owned(),
            client_id: "100000000001-emulator.apps.googleusercontent.com".to_owned(),
            client_secret: "GOCSPX-emulator".to_owned(),
            client_type: ClientType::Web,
            redirect_uris: Vec::new(),
            other_clients: Vec::new(),
            require_pkce: true,
            token_lifetime: DEFAULT_TOKEN_LIFETIME,
            rotation: Rotation::Off,
            testing_mode: false,
            token_cap: DEFAULT_TOKEN_CAP,
            id_token_on_refresh: false,
            accounts: vec![Account::new("alice@example.com"), Account::new("bob@example.com")],
            auto_approve: None,
            risc_receiver: None,
            clock: Clock::system(),
        }
    }
}

impl Options {
    /// The project's clients, the main one first.
    pub(crate) fn clients(&self) -> Vec<Client> {
        let main = Client {
            id: self.client_id.clone(),
            secret: self.client_secret.clone(),
            kind: self.client_type,
            redirect_uris: self.redirect_uris.clone(),
        };
        std::iter::once(main)
            .chain(self.other_clients.iter().cloned())
            .collect()
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_is_stable_and_looks_like_googles() {
        let alice = Account::new("alice@example.com");
        assert_eq!(alice, Account::new("alice@example.com"));
        assert_ne!(alice.sub, Account::new("bob@example.com").sub);
        assert_eq!(alice.sub.len(), 21);
        assert!(alice.sub.bytes().all(|b| b.is_ascii_digit()));
    }
}
