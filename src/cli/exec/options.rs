//! The options of `exec`.

use std::{ffi::OsString, net::SocketAddr, time::Duration};

use clap::Args;
use rustix::process::Signal;

use super::{
    super::{library_variables::loopback, options::AgentArgs},
    signals,
};
use crate::text::time_format;

const EXAMPLES: &str = "\
Examples:
  token-broker exec -- ./agent.py
  token-broker exec --agent invoice-bot --timeout 5m -- sh -c 'echo $GOOGLE_OAUTH_CAPABILITIES'
  token-broker exec --on-renewal signal:HUP -- ./server     # which reads `env` again then
  token-broker exec --on-renewal restart --grace 30s -- ./agent.py
  token-broker exec --metadata 127.0.0.1:8422 -- ./agent.py  # whose Google libraries stay fresh by themselves

The command's environment is that of the moment it starts; a program that runs longer than a token lives reads the \
file `env`, asks the socket, or has --on-renewal. With --on-renewal nothing the command takes this process's place: \
signals and the exit code are its own. Otherwise, and always as process 1 of a container, it is a child: signals are \
passed on, orphans are reaped, and the exit code is the command's, or 128 and the number of the signal that ended it.

On renewal: `signal` sends HUP, or the signal that is named, once the file `env` holds the new token; `restart` ends \
the command and its process group (on a terminal, the command alone) with TERM, and with KILL after --grace, and starts \
it anew. A command that \
was told to end (TERM, INT, QUIT) is not started again, nor is one that ended by itself. When the token is withdrawn, \
standard error says why and the command goes on; the next token counts as a renewal.

With --metadata, Google's own client libraries in the command get fresh tokens for as long as it runs: they are told \
(GCE_METADATA_HOST and the others that `env --metadata` prints) to ask this process, which asks the agent's socket. \
Clients with a fixed host (gRPC's C core, gcp_auth) need port 80 and the name metadata.google.internal for the \
loopback address (`docker run --add-host`, `hostAliases`). \
Whoever reaches the address gets the tokens, so it is a loopback one, in a network namespace of the agent's own.";

/// Run a command with an agent's token in its environment
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct ExecArgs {
    #[command(flatten)]
    pub(super) agent: AgentArgs,
    /// How long to wait for a token
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = time_format::parse_duration)]
    pub(super) timeout: Duration,
    /// What to do when the token is renewed: nothing, signal[:NAME] or restart
    #[arg(long, value_name = "WHAT", default_value = "nothing", value_parser = OnRenewal::parse)]
    pub(super) on_renewal: OnRenewal,
    /// How long a command that is restarted may take to end
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = time_format::parse_duration)]
    pub(super) grace: Duration,
    /// Serve the command's Google libraries a metadata server on this loopback address (port 0: a free one)
    #[arg(long, value_name = "ADDRESS", value_parser = loopback)]
    pub(super) metadata: Option<SocketAddr>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// What a new token means for a command that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnRenewal {
    Nothing,
    Signal(Signal),
    Restart,
}

impl OnRenewal {
    /// Reads `nothing`, `signal`, `signal:USR1` or `restart`.
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "nothing" => Ok(Self::Nothing),
            None if text == "signal" => Ok(Self::Signal(Signal::HUP)),
            None if text == "restart" => Ok(Self::Restart),
            Some(("signal", name)) => signals::parse(name).map(Self::Signal),
            _ => Err("write `nothing`, `signal`, `signal:NAME` or `restart`".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_on_renewal_is_read_as_it_is_typed() {
        for (text, expected) in [
            ("nothing", OnRenewal::Nothing),
            ("signal", OnRenewal::Signal(Signal::HUP)),
            ("signal:HUP", OnRenewal::Signal(Signal::HUP)),
            ("signal:sigusr1", OnRenewal::Signal(Signal::USR1)),
            ("restart", OnRenewal::Restart),
        ] {
            assert_eq!(OnRenewal::parse(text), Ok(expected), "{text}");
        }
        for wrong in [
            "",
            "restart:HUP",
            "signal:",
            "signal:KILL",
            "signal:FOO",
            "reload",
        ] {
            assert!(OnRenewal::parse(wrong).is_err(), "{wrong}");
        }
        let told = OnRenewal::parse("signal:FOO").unwrap_err();
        assert!(told.contains("FOO") && told.contains("USR1"), "{told}");
    }
}
