//! The program's arguments, for programs that offer the emulator as a command of their own too.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, ValueEnum};
use jiff::{Span, SpanRelativeTo};

use crate::options::{Account, AutoApprove, ClientType, Options, Rotation};

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
pub struct Arguments {
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
    #[arg(long, value_name = "DURATION", default_value = "3599s", value_parser = duration)]
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

impl From<Arguments> for Options {
    fn from(arguments: Arguments) -> Self {
        let defaults = Self::default();
        let accounts: Vec<_> = arguments
            .accounts
            .iter()
            .map(|email| Account::new(email))
            .collect();
        Self {
            listen: arguments.listen,
            control: arguments.control,
            allow_non_loopback: arguments.allow_non_loopback,
            public_url: arguments.public_url,
            client_id: arguments.client_id.unwrap_or(defaults.client_id),
            client_secret: arguments.client_secret.unwrap_or(defaults.client_secret),
            client_type: arguments.client_type.into(),
            redirect_uris: arguments.redirect_uris,
            require_pkce: !arguments.allow_missing_pkce,
            token_lifetime: arguments.token_lifetime,
            rotation: arguments.rotation.into(),
            testing_mode: arguments.testing_mode,
            token_cap: arguments.token_cap,
            accounts: if accounts.is_empty() {
                defaults.accounts
            } else {
                accounts
            },
            auto_approve: arguments.auto_approve.map(|account| AutoApprove {
                account,
                untick: arguments.untick,
            }),
            risc_receiver: arguments.risc_receiver,
            ..defaults
        }
    }
}

impl From<ClientKind> for ClientType {
    fn from(kind: ClientKind) -> Self {
        match kind {
            ClientKind::Web => Self::Web,
            ClientKind::Desktop => Self::Desktop,
        }
    }
}

impl From<RotationMode> for Rotation {
    fn from(mode: RotationMode) -> Self {
        match mode {
            RotationMode::Off => Self::Off,
            RotationMode::Leeway => Self::Leeway,
            RotationMode::Strict => Self::Strict,
        }
    }
}

/// Reads a duration such as `90`, `90s`, `10m`, `1h30m` or `2d`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let read = || -> Option<Duration> {
        let span: Span = text.parse().ok()?;
        let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
        length.try_into().ok()
    };
    read().ok_or_else(|| {
        format!(
            "`{text}` is not a duration: write seconds, or a number and a unit such as `90s`, `10m`, `1h`"
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn options(line: &[&str]) -> Options {
        let line = ["google-emulator"].iter().chain(line);
        Program::try_parse_from(line).unwrap().arguments.into()
    }

    #[test]
    fn durations_are_read_as_people_type_them() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("10m", 600),
            ("5min", 300),
            ("1h30m", 5400),
            ("2d", 172_800),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "s", "1x", "-5s", "1h30", "soon"] {
            assert!(duration(bad).unwrap_err().contains("is not a duration"), "{bad}");
        }
    }

    #[test]
    fn without_arguments_it_is_the_default_project() {
        let (read, defaults) = (options(&[]), Options::default());
        assert_eq!(
            (read.listen, read.token_cap),
            (defaults.listen, defaults.token_cap)
        );
        assert_eq!(read.control, "127.0.0.1:9006".parse().unwrap());
        assert_eq!(read.token_lifetime, defaults.token_lifetime);
        assert_eq!(read.accounts, defaults.accounts);
        assert_eq!(read.auto_approve, None);
        assert!(read.require_pkce && !read.testing_mode && !read.allow_non_loopback);
    }

    #[test]
    fn arguments_become_options() {
        let read = options(&[
            "--account=carol@example.com",
            "--allow-missing-pkce",
            "--auto-approve",
            "--untick=openid",
            "--client-type=desktop",
            "--rotation=strict",
            "--token-lifetime=1m",
        ]);
        assert_eq!(read.accounts, [Account::new("carol@example.com")]);
        assert!(!read.require_pkce);
        let untick = vec!["openid".to_owned()];
        assert_eq!(
            read.auto_approve,
            Some(AutoApprove {
                account: None,
                untick
            })
        );
        assert_eq!(
            (read.client_type, read.rotation),
            (ClientType::Desktop, Rotation::Strict)
        );
        assert_eq!(read.token_lifetime, Duration::from_secs(60));
    }
}
