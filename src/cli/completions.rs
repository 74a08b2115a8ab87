//! `completions`: a script that completes the command line.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::output::Output;
use crate::client::exit::{Exit, Outcome};

const EXAMPLES: &str = "\
Examples:
  token-broker completions bash > /etc/bash_completion.d/token-broker
  token-broker completions zsh > \"${fpath[1]}/_token-broker\"
  token-broker completions fish > ~/.config/fish/completions/token-broker.fish";

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs `completions`.
pub(super) fn run(args: &CompletionsArgs, mut command: Command, output: &mut Output) -> Outcome {
    let mut script = Vec::new();
    generate(args.shell, &mut command, "token-broker", &mut script);
    output.raw(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
