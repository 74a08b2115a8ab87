//! `completions`: a script that completes the command line.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{
    args::Cli,
    exit::{Exit, Outcome},
    output::Output,
};

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
pub(super) fn run(args: &CompletionsArgs, output: &mut Output) -> Outcome {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "token-broker", &mut script);
    output.raw(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
