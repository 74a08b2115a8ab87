//! `exec`: runs a command with an agent's token in its environment.
//!
//! Where nothing has to be done beside the command, it takes this process's place. On renewals, and as a
//! container's first process, it is run as a child instead ([`supervise`]).

mod child;
mod interpreter;
mod metadata;
mod options;
mod renewals;
mod signals;
mod supervise;

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use rustix::process::getpid;

pub(super) use options::ExecArgs;

use super::{options::Global, output::Output, ready, runtime::wait_for};
use crate::client::exit::Outcome;
use options::OnRenewal;

/// Runs `exec`. Returns only where the command could not take this process's place, or was a child.
pub(super) fn run(args: &ExecArgs, global: &Global, output: &mut Output) -> Outcome {
    let socket = args.agent.client(global)?;
    if args.on_renewal != OnRenewal::Nothing || args.metadata.is_some() || getpid().is_init() {
        return wait_for(supervise::run(args, &socket, output));
    }
    let variables = wait_for(ready::until_ready(&socket, args.timeout, output))?;
    // The runtime is gone by now: the command inherits nothing of it.
    Err(child::replace(&args.command, &variables))
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
