//! The options that commands share. What they lead to is found in `settings` and `connections`.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, ArgGroup, Args};
use url::Url;

use super::output::Format;
use crate::{
    client::{exit::Failure, remote::Server},
    id::{AgentName, IntegrationId, OwnerId},
    proto::v1,
};

/// Options of every command, before or after its name.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// The configuration file; the one in `/etc/token-broker` when absent.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help = "The configuration [env: TOKEN_BROKER_CONFIG] [default: /etc/token-broker/config.toml]",
        help_heading = "Global options"
    )]
    pub config: Option<PathBuf>,
    /// What standard output carries
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        hide_possible_values = true,
        help = "What standard output carries: text or json",
        help_heading = "Global options"
    )]
    pub output: Format,
    /// The daemon's admin socket; `admin.sock` in `runtime_dir` when absent.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        help = "The daemon's admin socket [env: TOKEN_BROKER_ADMIN_SOCKET] [default: <runtime_dir>/admin.sock]",
        help_heading = "Global options"
    )]
    pub admin_socket: Option<PathBuf>,
    /// A broker on another machine, instead of the admin socket.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        value_parser = server_url,
        conflicts_with = "admin_socket",
        help = "Another machine's broker instead: https://HOST:PORT [env: TOKEN_BROKER_SERVER]",
        help_heading = "Global options"
    )]
    pub server: Option<Url>,
    /// With `server`: this client's certificate.
    #[arg(
        long = "certificate",
        global = true,
        value_name = "FILE",
        help = "For --server: your certificate [env: TOKEN_BROKER_CERTIFICATE]",
        help_heading = "Global options"
    )]
    pub client_certificate: Option<PathBuf>,
    /// With `server`: the certificate's private key.
    #[arg(
        long = "certificate-key",
        global = true,
        value_name = "FILE",
        help = "For --server: its private key [env: TOKEN_BROKER_CERTIFICATE_KEY]",
        help_heading = "Global options"
    )]
    pub client_key: Option<PathBuf>,
    /// With `server`: the authorities of its certificate.
    #[arg(
        long = "ca",
        global = true,
        value_name = "FILE",
        help = "For --server: its authorities, unless the system's [env: TOKEN_BROKER_CA]",
        help_heading = "Global options"
    )]
    pub server_ca: Option<PathBuf>,
    /// Say more about what is done
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
}

impl Global {
    /// True where standard output is for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.output == Format::Json
    }

    /// True where the daemon was named, on this machine or another.
    pub(super) fn names_daemon(&self) -> bool {
        self.admin_socket.is_some() || self.server.is_some()
    }

    /// The first option that is about a broker on another machine.
    pub(super) fn remote_option(&self) -> Option<&'static str> {
        let given = [
            ("--server", self.server.is_some()),
            ("--certificate", self.client_certificate.is_some()),
            ("--certificate-key", self.client_key.is_some()),
            ("--ca", self.server_ca.is_some()),
        ];
        given
            .into_iter()
            .find_map(|(option, is_given)| is_given.then_some(option))
    }

    /// The broker on another machine, where one is named.
    pub(super) fn remote(&self) -> Result<Option<Server>, Failure> {
        let Some(url) = &self.server else {
            return Ok(None);
        };
        let (Some(certificate), Some(key)) = (&self.client_certificate, &self.client_key) else {
            let message = "--server needs --certificate and --certificate-key: a broker serves nobody over the network who shows no \
                           certificate";
            return Err(Failure::usage(message));
        };
        Ok(Some(Server {
            url: url.clone(),
            certificate: certificate.clone(),
            key: key.clone(),
            ca: self.server_ca.clone(),
        }))
    }

    /// These options, and from the environment what they leave out. An empty variable is none.
    ///
    /// # Errors
    /// A variable that cannot be used.
    pub(super) fn or_environment(
        mut self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Failure> {
        let path = |name| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        self.config = self.config.or_else(|| path("TOKEN_BROKER_CONFIG"));
        if !self.names_daemon() {
            // The other machine first: who sets that means it for every command.
            let server = path("TOKEN_BROKER_SERVER").map(|url| server_url(&url.to_string_lossy()));
            self.server = server
                .transpose()
                .map_err(|why| Failure::usage(format!("TOKEN_BROKER_SERVER: {why}")))?;
            self.admin_socket = path("TOKEN_BROKER_ADMIN_SOCKET").filter(|_| self.server.is_none());
        }
        self.client_certificate = self
            .client_certificate
            .or_else(|| path("TOKEN_BROKER_CERTIFICATE"));
        self.client_key = self.client_key.or_else(|| path("TOKEN_BROKER_CERTIFICATE_KEY"));
        self.server_ca = self.server_ca.or_else(|| path("TOKEN_BROKER_CA"));
        Ok(self)
    }
}

/// Where a broker is on another machine.
fn server_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let fits = |url: &Url| {
        let bare = url.username().is_empty() && url.password().is_none();
        url.scheme() == "https" && url.has_host() && bare && url.path() == "/" && url.query().is_none()
    };
    url.filter(fits)
        .ok_or_else(|| "expected https://HOST:PORT".to_owned())
}

/// Which agent to speak for.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct AgentArgs {
    #[arg(
        long,
        value_name = "PATH",
        conflicts_with = "agent",
        help = "The agent's socket [env: TOKEN_BROKER_SOCKET] [default: /run/token-broker/broker.sock]"
    )]
    pub socket: Option<PathBuf>,
    /// On the node: the agent whose socket to use
    #[arg(long, value_name = "NAME")]
    pub agent: Option<AgentName>,
}

impl AgentArgs {
    /// True where an option names the agent.
    pub(super) fn is_given(&self) -> bool {
        self.socket.is_some() || self.agent.is_some()
    }
}

// One account: by its id, or by its owner.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("integration").required(true).args(["id", "owner"]))]
pub(super) struct Which {
    /// The integration's id, as `integrations list` shows it
    #[arg(value_name = "ID", conflicts_with = "account")]
    id: Option<IntegrationId>,
    /// Instead of the id: whose account it is
    #[arg(long)]
    owner: Option<OwnerId>,
    /// The account's address, where the owner has several
    #[arg(long, requires = "owner", value_name = "ADDRESS")]
    account: Option<String>,
}

impl Which {
    /// As the daemon is asked.
    pub(super) fn reference(&self) -> v1::IntegrationRef {
        v1::IntegrationRef {
            id: self.id.as_ref().map(ToString::to_string).unwrap_or_default(),
            owner: self.owner.as_ref().map(ToString::to_string).unwrap_or_default(),
            account: self.account.clone().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_wins_over_the_environment() {
        let variable = |name: &str| match name {
            "TOKEN_BROKER_CONFIG" => Some("env.toml".into()),
            _ => Some(OsString::new()),
        };
        let global = Global::default().or_environment(variable).unwrap();
        assert_eq!(
            (global.config, global.admin_socket),
            (Some("env.toml".into()), None)
        );
        let given = Global {
            config: Some("given.toml".into()),
            ..Global::default()
        };
        let given = given.or_environment(variable).unwrap();
        assert_eq!(given.config, Some("given.toml".into()));
    }

    #[test]
    fn a_daemon_is_named_once_by_an_option_or_else_by_the_environment() {
        let variable = |name: &str| match name {
            "TOKEN_BROKER_SERVER" => Some("https://broker.example:8444".into()),
            "TOKEN_BROKER_ADMIN_SOCKET" => Some("/run/a.sock".into()),
            _ => None,
        };
        let given = Global {
            admin_socket: Some("/tmp/b.sock".into()),
            ..Global::default()
        };
        let given = given.or_environment(variable).unwrap();
        assert_eq!(
            (given.server.is_none(), given.admin_socket),
            (true, Some("/tmp/b.sock".into()))
        );
        let global = Global::default().or_environment(variable).unwrap();
        assert_eq!(global.admin_socket, None);
        let failure = global.remote().unwrap_err();
        assert!(
            failure
                .message
                .starts_with("--server needs --certificate and --certificate-key"),
            "{failure}"
        );
        for bad in ["http://b:1", "b:1", "https://u@b", "https://b/x", "https://b?x"] {
            let refused =
                Global::default().or_environment(|name| (name == "TOKEN_BROKER_SERVER").then(|| bad.into()));
            assert!(
                refused
                    .unwrap_err()
                    .message
                    .contains("expected https://HOST:PORT"),
                "{bad}"
            );
        }
    }
}
