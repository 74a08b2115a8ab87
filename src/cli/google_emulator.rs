//! `google-emulator`: its arguments. The emulator itself is started by the composition root.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, ValueEnum};

use super::when;

const EXAMPLES: &str = "\
Examples:
  token-broker google-emulator
  token-broker google-emulator --token-lifetime 60s --rotation strict --auto-approve
  token-broker google-emulator --account alice@example.com --testing-mode

Point the daemon at it with `endpoint_base = \"http://127.0.0.1:9005\"` in the section `[google]`. Nothing about \
it is secret: never let it hold anything real.";

/// What kind of OAuth client is emulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClientKind {
    /// A web application
    Web,
    /// A desktop application
    Desktop,
}

/// Whether a refresh yields a new refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RotationMode {
    /// Never, as Google does
    Off,
    /// Always; the previous one works until the new one is first used
    Leeway,
    /// Always; a spent one that is used again ends the grant
    Strict,
}

/// Run a Google-shaped OAuth server, for tests and demonstrations
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct GoogleEmulatorArgs {
    /// Where Google's endpoints and small Gmail, Calendar and Drive APIs are served (port 0: a free one)
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9005")]
    pub listen: SocketAddr,
    /// Where faults are ordered and state is read
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9006")]
    pub control: SocketAddr,
    /// Let it listen beyond loopback
    #[arg(long)]
    pub allow_non_loopback: bool,
    /// The origin under which clients reach it, where it is not the address it listens on
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// The OAuth client's id
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// The OAuth client's secret; an emulated one protects nothing
    #[arg(
        long,
        value_name = "TEXT",
        env = "GOOGLE_EMULATOR_CLIENT_SECRET",
        hide_env_values = true
    )]
    pub client_secret: Option<String>,
    /// The OAuth client's type
    #[arg(long, value_enum, default_value_t = ClientKind::Web)]
    pub client_type: ClientKind,
    /// A registered redirect address, compared exactly (repeatable) [default: every loopback address]
    #[arg(long = "redirect-uri", value_name = "URL")]
    pub redirect_uris: Vec<String>,
    /// Accept consents without PKCE, as Google itself does
    #[arg(long)]
    pub allow_missing_pkce: bool,
    /// How long access tokens live
    #[arg(long, value_name = "DURATION", default_value = "3599s", value_parser = when::parse_duration)]
    pub token_lifetime: Duration,
    /// Whether a refresh yields a new refresh token
    #[arg(long, value_enum, default_value_t = RotationMode::Off)]
    pub rotation: RotationMode,
    /// A consent screen in Testing: grants die after seven days
    #[arg(long)]
    pub testing_mode: bool,
    /// How many live refresh tokens an account keeps; the oldest goes, silently
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub token_cap: usize,
    /// A person's address (repeatable) [default: alice@example.com and bob@example.com]
    #[arg(long = "account", value_name = "ADDRESS")]
    pub accounts: Vec<String>,
    /// Consent without showing a page, as this account, or as the one that the request hints at
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1)]
    pub auto_approve: Option<Option<String>>,
    /// A scope that --auto-approve leaves unticked (repeatable)
    #[arg(long, value_name = "SCOPE", requires = "auto_approve")]
    pub untick: Vec<String>,
    /// Where security events are pushed to, over plain HTTP (Cross-Account Protection)
    #[arg(long, value_name = "URL")]
    pub risc_receiver: Option<String>,
}
