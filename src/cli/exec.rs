//! `exec`: runs a command with an agent's token in its environment.

use std::{ffi::OsString, io, os::unix::process::CommandExt, process::Command, time::Duration};

use clap::Args;

use super::{
    agent_client::AgentArgs,
    args::Global,
    environment::{DELIVERED, Environment},
    exit::{Exit, Failure, Outcome},
    output::Output,
    wait, when,
};

const EXAMPLES: &str = "\
Examples:
  token-broker exec -- ./agent.py
  token-broker exec --agent invoice-bot --timeout 5m -- sh -c 'echo $GOOGLE_OAUTH_CAPABILITIES'

The command takes this process's place: signals and the exit code are its own. Its environment is that of the \
moment it starts; a program that runs longer than a token lives reads the file `env`, or asks the socket.";

/// Run a command with an agent's token in its environment
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExecArgs {
    #[command(flatten)]
    agent: AgentArgs,
    /// How long to wait for a token
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = when::parse_duration)]
    timeout: Duration,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Waits for the variables that the command gets.
pub(super) async fn variables(
    args: &ExecArgs,
    global: &Global,
    output: &mut Output,
) -> Result<Environment, Failure> {
    wait::until_ready(&args.agent.client(global)?, args.timeout, output).await
}

/// Becomes the command. Returns only when that is not possible.
#[expect(clippy::needless_pass_by_value, reason = "the token is not needed after this")]
pub(super) fn replace(command: &[OsString], variables: Environment) -> Outcome {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::usage("there is no command to run: write it after `--`"));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    for name in DELIVERED {
        command.env_remove(name);
    }
    let error = command.envs(variables.iter()).exec();
    let program = program.display();
    Err(match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            Exit::CommandNotFound,
            format!("`{program}` cannot be run: there is no such command"),
        ),
        io::ErrorKind::PermissionDenied => Failure::new(
            Exit::CannotExecute,
            format!("`{program}` cannot be run: it is not an executable file"),
        ),
        _ => Failure::new(Exit::CannotExecute, format!("`{program}` cannot be run: {error}")),
    })
}
