//! `exec`: runs a command with an agent's token in its environment.
//!
//! Where nothing has to be done beside the command, it takes this process's place. On renewals, and as a
//! container's first process, it is run as a child instead (`crate::supervisor`).

use std::{ffi::OsString, net::SocketAddr, time::Duration};

use clap::{
    Args,
    error::{ContextKind, ContextValue, ErrorKind},
};
use rustix::process::getpid;

use super::{
    library_variables::loopback,
    metadata_relay,
    options::{AgentArgs, Global},
    output::Output,
    ready,
    runtime::{self, wait_for},
    style::harmless,
};
use crate::{
    client::{
        agent::AgentSocket,
        exit::{Exit, Outcome},
    },
    supervisor::{self, OnRenewal, Orders, Signals},
    text::time_format,
};

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
pub(super) struct ExecArgs {
    #[command(flatten)]
    agent: AgentArgs,
    /// How long to wait for a token
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = time_format::parse_duration)]
    timeout: Duration,
    /// What to do when the token is renewed: nothing, signal[:NAME] or restart
    #[arg(long, value_name = "WHAT", default_value = "nothing", value_parser = OnRenewal::parse)]
    on_renewal: OnRenewal,
    /// How long a command that is restarted may take to end
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = time_format::parse_duration)]
    grace: Duration,
    /// Serve the command's Google libraries a metadata server on this loopback address (port 0: a free one)
    #[arg(long, value_name = "ADDRESS", value_parser = loopback)]
    metadata: Option<SocketAddr>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Runs `exec`. Returns only where the command could not take this process's place, or was a child.
pub(super) fn run(args: &ExecArgs, global: &Global, output: &mut Output) -> Outcome {
    let socket = args.agent.client(global)?;
    if args.on_renewal != OnRenewal::Nothing || args.metadata.is_some() || getpid().is_init() {
        return wait_for(supervise(args, &socket, output));
    }
    let variables = wait_for(ready::until_ready(&socket, args.timeout, output))?;
    runtime::flush();
    // The runtime is gone by now: the command inherits nothing of it.
    Err(supervisor::replace(&args.command, &variables))
}

/// Waits for the token, then runs the command to its end.
async fn supervise(args: &ExecArgs, socket: &AgentSocket, output: &mut Output) -> Outcome {
    let mut signals = Signals::listen()?;
    let waiting = ready::until_ready(socket, args.timeout, output);
    let variables = tokio::select! {
        ready = waiting => ready?,
        code = signals.end() => return Ok(Exit::OfCommand(code)),
    };
    let orders = Orders {
        command: &args.command,
        on_renewal: args.on_renewal,
        grace: args.grace,
        for_libraries: match args.metadata {
            Some(address) => metadata_relay::serve(socket, address)?,
            None => Vec::new(),
        },
    };
    let say = |text: &str| output.note(&format!("token-broker: {}", harmless(text, true)));
    supervisor::supervise(orders, signals, socket, variables, say).await
}

/// Adds to an error of the arguments how a command is written, where the dashes before it are missing.
pub(super) fn hint_at_dashes(error: &mut clap::Error, arguments: &[OsString]) {
    let is_written = |word: &str| arguments.iter().skip(1).any(|argument| argument == word);
    if error.kind() != ErrorKind::UnknownArgument || !is_written("exec") || is_written("--") {
        return;
    }
    if let Some(ContextValue::String(command)) = error.get(ContextKind::InvalidArg)
        && !command.starts_with('-')
    {
        let tip = format!("a command is written after `--`: token-broker exec -- {command}");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
}
