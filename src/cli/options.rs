//! The options that commands share. What they lead to is found in `settings` and `connections`.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, ArgGroup, Args};

use super::output::Format;
use crate::{
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
    /// Say more about what is done
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
}

impl Global {
    /// True where standard output is for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.output == Format::Json
    }

    /// These options, and from the environment what they leave out. An empty variable is none.
    pub(super) fn or_environment(mut self, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        self.config = self.config.or_else(|| path("TOKEN_BROKER_CONFIG"));
        self.admin_socket = self.admin_socket.or_else(|| path("TOKEN_BROKER_ADMIN_SOCKET"));
        self
    }
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
        let global = Global::default().or_environment(variable);
        assert_eq!(
            (global.config, global.admin_socket),
            (Some("env.toml".into()), None)
        );
        let given = Global {
            config: Some("given.toml".into()),
            ..Global::default()
        };
        assert_eq!(given.or_environment(variable).config, Some("given.toml".into()));
    }
}
