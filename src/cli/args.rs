//! The command line as a whole: global options and subcommands. Each group keeps its own arguments.

use clap::{Parser, Subcommand};

use super::{
    agents::{self, AgentsCommand},
    audit, backup, capabilities, completions, connect, console, demo, doctor, exec, google_emulator, init,
    integrations, key,
    options::Global,
    restore, serve, service_account, sidecar, status, store, token, wait,
};
use crate::client::exit::{self, Failure};

const OVERVIEW: &str = "\
Getting started:
  token-broker demo                    see it work: nothing to install, nothing left behind
  token-broker init                    write a configuration and a master key
  token-broker serve                   run the daemon
  token-broker connect --owner alice --capability google.gmail.send
  token-broker doctor                  find the usual mistakes

In an agent's container:
  token-broker exec -- ./agent.py      run a command with the token in its environment
  curl -s --unix-socket /run/token-broker/broker.sock http://broker/v1/token";

/// Keeps agents supplied with short-lived Google access tokens.
///
/// A daemon on each node holds people's Google grants, encrypted; agents get access tokens that are always
/// fresh and carry only what each agent declared. Commands that manage it talk to the daemon's admin
/// socket; `token`, `env`, `exec` and `wait` talk to an agent's own socket and need no configuration.
#[derive(Debug, Parser)]
#[command(
    name = "token-broker",
    version,
    max_term_width = 100,
    after_help = OVERVIEW,
    after_long_help = format!("{OVERVIEW}\n\n{}", exit::TABLE),
    disable_help_subcommand = true,
)]
pub(super) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done. Deferred: an agent's script that calls `token` often need not pay for the options of all the others.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(super) enum Command {
    /// Write a configuration and a master key
    Init(init::InitArgs),
    /// Run the daemon
    Serve(serve::ServeArgs),
    /// Connect a person's Google account, or add permissions to it
    Connect(connect::ConnectArgs),
    /// Open the console in a browser
    Console(console::ConsoleArgs),
    /// Show, check, extend, import and disconnect connected accounts
    #[command(subcommand, visible_alias = "integration")]
    Integrations(integrations::IntegrationsCommand),
    /// Add a service account, or replace its key
    #[command(subcommand)]
    ServiceAccount(service_account::ServiceAccountCommand),
    /// Show what agents can ask for
    Capabilities(capabilities::CapabilitiesArgs),
    /// Show, add, remove and validate agents
    #[command(subcommand, visible_alias = "agent")]
    Agents(agents::AgentsCommand),
    /// Print an agent's access token
    Token(token::TokenArgs),
    /// Print an agent's environment
    Env(token::EnvArgs),
    /// Run a command with an agent's token in its environment
    Exec(exec::ExecArgs),
    /// Wait until an agent has a token
    Wait(wait::WaitArgs),
    /// Give an agent's tokens to the other containers of its pod
    Sidecar(sidecar::SidecarArgs),
    /// Show how the daemon, or one agent, is doing
    Status(status::StatusArgs),
    /// Read and verify the audit trail
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Rotate, reseal, show and verify the keys that the database is sealed with
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Copy the database to a file, while the daemon runs
    Backup(backup::BackupArgs),
    /// Put a backup in the database's place, while the daemon is stopped
    Restore(restore::RestoreArgs),
    /// Bring the database of [store] up to date, look at it, or fill it
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Show the brokers at the database of [store]
    Brokers,
    /// Find the usual mistakes
    Doctor(doctor::DoctorArgs),
    /// Run a Google-shaped OAuth server, for tests and demonstrations
    GoogleEmulator(google_emulator::GoogleEmulatorArgs),
    /// Show the broker at work: nothing to install, nothing left behind
    Demo(demo::DemoArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

impl Command {
    /// True for what listens to signals by itself.
    pub(super) fn heeds_signals(&self) -> bool {
        matches!(
            self,
            Self::Serve(_) | Self::Sidecar(_) | Self::Exec(_) | Self::GoogleEmulator(_) | Self::Demo(_)
        )
    }

    /// True for what asks no broker on another machine, whatever is named.
    fn stays_here(&self) -> bool {
        match self {
            Self::Init(_)
            | Self::Serve(_)
            | Self::Sidecar(_)
            | Self::Demo(_)
            | Self::GoogleEmulator(_)
            | Self::Token(_)
            | Self::Env(_)
            | Self::Exec(_)
            | Self::Wait(_)
            | Self::Restore(_)
            | Self::Store(_)
            | Self::Brokers
            | Self::Completions(_)
            | Self::Agents(AgentsCommand::Validate(_)) => true,
            Self::Connect(_)
            | Self::Console(_)
            | Self::Integrations(_)
            | Self::ServiceAccount(_)
            | Self::Capabilities(_)
            | Self::Agents(_)
            | Self::Status(_)
            | Self::Audit(_)
            | Self::Key(_)
            | Self::Backup(_)
            | Self::Doctor(_) => false,
        }
    }

    /// Refuses options for a broker on another machine where none is asked.
    pub(super) fn check_options(&self, given: &Global) -> Result<(), Failure> {
        let names_agent = match self {
            Self::Status(args) => args.agent.is_given(),
            Self::Doctor(args) => args.agent.is_given(),
            _ => false,
        };
        match given.remote_option() {
            Some(option) if self.stays_here() => Err(Failure::usage(format!(
                "{option} is for commands that manage a broker on another machine: this command asks none"
            ))),
            Some(option) if names_agent => Err(Failure::usage(format!(
                "{option} is for a broker on another machine, and --agent and --socket name an agent of this one: keep one of \
                 the two"
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::help::{chapters, topic::Topic};
    use std::path::PathBuf;

    use clap::CommandFactory;

    use super::{super::output::Format, *};

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    /// What is deferred must not say something else once it is there: the comment on its options, say.
    #[test]
    fn a_command_is_described_alike_in_the_list_and_by_itself() {
        fn help(path: &[&str]) -> String {
            let line = ["token-broker"].iter().chain(path).chain(&["-h"]);
            let help = Cli::try_parse_from(line).unwrap_err().to_string();
            // As wide as it is, whatever the terminal.
            help.lines().map(str::trim).collect::<Vec<_>>().join("\n")
        }
        fn compare(path: &[&str], command: &clap::Command) {
            let list = help(path).replace('\n', " ");
            for command in command.get_subcommands() {
                let path = [path, &[command.get_name()]].concat();
                let own = help(&path);
                let about = own.lines().next().unwrap();
                assert!(list.contains(about), "{path:?}: {about}");
                compare(&path, command);
            }
        }
        let mut built = Cli::command();
        built.build();
        compare(&[], &built);
    }

    #[test]
    fn global_options_come_before_or_after_the_command() {
        for line in [
            ["token-broker", "--config", "a.toml", "--output", "json", "status"],
            ["token-broker", "status", "--config", "a.toml", "--output", "json"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.global.config, Some(PathBuf::from("a.toml")));
            assert_eq!(cli.global.output, Format::Json);
        }
    }

    #[test]
    fn a_server_is_named_for_commands_alone_that_ask_one() {
        let read = |line: &str| {
            let cli = Cli::try_parse_from(["token-broker"].into_iter().chain(line.split(' ')));
            let cli = cli.unwrap_or_else(|error| panic!("{line}: {error}"));
            cli.command
                .check_options(&cli.global)
                .map_err(|failure| failure.to_string())
        };
        for line in [
            "token",
            "env",
            "wait",
            "init",
            "restore x",
            "agents validate x",
            "exec -- x",
            "serve",
        ] {
            let said = read(&format!("--server https://b:1 {line}")).unwrap_err();
            assert!(
                said.starts_with("--server is for commands that manage"),
                "{line}: {said}"
            );
            assert_eq!(read(line), Ok(()));
        }
        assert!(read("--ca x token").unwrap_err().starts_with("--ca is for"));
        for line in ["status", "agents list", "backup x", "capabilities", "doctor"] {
            assert_eq!(read(&format!("{line} --server https://b:1")), Ok(()), "{line}");
        }
        // Another machine's broker, and an agent of this one.
        for line in ["status --agent a", "doctor --socket x"] {
            let said = read(&format!("{line} --server https://b:1")).unwrap_err();
            assert!(said.ends_with("keep one of the two"), "{line}: {said}");
        }
    }

    #[test]
    fn what_follows_the_dashes_belongs_to_the_command() {
        let cli = Cli::try_parse_from(["token-broker", "exec", "--", "env", "--config", "x"]).unwrap();
        assert_eq!(cli.global.config, None);
        let Command::Exec(exec) = cli.command else {
            panic!("{:?}", cli.command)
        };
        assert_eq!(exec.command, ["env", "--config", "x"]);
    }

    #[test]
    fn every_command_on_a_help_page_is_one_that_there_is() {
        let topics = chapters::all().into_iter().flat_map(|chapter| &chapter.topics);
        for command in topics.flat_map(Topic::commands) {
            // What people fill in.
            let words = command.split(' ').map(|word| match word {
                "KEY" => "google.gmail.send",
                "OWNER" => "alice",
                "ADDRESS" => "alice@work.example",
                other => other,
            });
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{command}: {error}");
            }
        }
    }
}
