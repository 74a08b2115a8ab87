//! The command line.
//!
//! [`run`] reads the arguments and hands over to one module per command. Commands that manage the daemon
//! speak gRPC on its admin socket, and an agent's own commands HTTP on its `broker.sock` without reading a configuration
//! (`crate::client` speaks both).

mod agent_status;
mod agents;
mod args;
mod audit;
mod backup;
mod capabilities;
mod completions;
mod connect;
mod connections;
mod console;
mod demo;
mod disconnect;
mod doctor;
mod exec;
mod google_emulator;
mod import;
mod init;
mod integrations;
mod json;
mod key;
mod library_variables;
mod manifests;
mod metadata_relay;
mod options;
mod ready;
mod restore;
mod runtime;
mod secret_input;
mod serve;
mod service_account;
mod settings;
mod sidecar;
mod status;
mod store;
mod tables;
#[cfg(test)]
mod testing;
mod token;
mod wait;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser};

pub use demo::DemoArgs;
pub use google_emulator::GoogleEmulatorArgs;
pub use options::Global;
pub use serve::ServeArgs;
pub use sidecar::SidecarArgs;

use args::{Cli, Command};
use runtime::wait_for;

pub use crate::client::exit::{Exit, Failure, Outcome};
use crate::{
    budget::descriptors,
    clock::SystemClock,
    supervisor,
    telemetry::panics,
    terminal::{
        browser,
        output::{self, Output},
        progress, prompt, style,
    },
};

/// A program that runs until it is told to stop, provided by the composition root: this layer knows only
/// its arguments. It is called without an async runtime.
pub type Program<A> = fn(&Global, A) -> Outcome;

/// The long-running programs. One that is absent was not built in.
#[derive(Clone, Copy, Default)]
pub struct Programs {
    /// `serve`.
    pub serve: Option<Program<ServeArgs>>,
    /// `sidecar`.
    pub sidecar: Option<Program<SidecarArgs>>,
    /// `demo`.
    pub demo: Option<Program<DemoArgs>>,
    /// `google-emulator`.
    pub google_emulator: Option<Program<GoogleEmulatorArgs>>,
}

/// Reads the arguments (the program's own name first), does what they say, and returns the code to end with.
pub fn run<I, T>(arguments: I, programs: &Programs) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString>,
{
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let mut cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(mut error) => {
            exec::hint_at_dashes(&mut error, &arguments);
            // Help and the version go to standard output and are no failure.
            let _ = error.print();
            return u8::try_from(error.exit_code())
                .unwrap_or(Exit::Usage.code())
                .into();
        }
    };
    panics::tell();
    let mut output = Output::standard(cli.global.output);
    let checked = cli.command.check_options(&cli.global);
    match checked.and_then(|()| cli.global.or_environment(|name| std::env::var_os(name))) {
        Ok(global) => cli.global = global,
        Err(failure) => {
            output.failure(&failure);
            return failure.exit.into();
        }
    }
    if !cli.command.heeds_signals()
        && let Err(error) = supervisor::end_by_signals()
    {
        output.note(&format!("token-broker: signals cannot be listened to: {error}"));
    }
    let exit = match dispatch(cli, programs, &mut output) {
        Ok(exit) => exit,
        Err(failure) => {
            output.failure(&failure);
            failure.exit
        }
    };
    runtime::flush();
    exit.into()
}

fn dispatch(cli: Cli, programs: &Programs, output: &mut Output) -> Outcome {
    // The libraries panic where they cannot open what they need.
    descriptors::check_for_command().map_err(Failure::misconfigured)?;
    SystemClock::check().map_err(Failure::misconfigured)?;
    let global = &cli.global;
    match cli.command {
        Command::Serve(args) => program("serve", programs.serve)?(global, args),
        Command::Sidecar(args) => program("sidecar", programs.sidecar)?(global, args),
        Command::Demo(args) => program("demo", programs.demo)?(global, args),
        Command::GoogleEmulator(args) => program("google-emulator", programs.google_emulator)?(global, args),
        Command::Init(args) => init::run(&args, global, output),
        Command::Completions(args) => completions::run(&args, Cli::command(), output),
        Command::Connect(args) => wait_for(connect::run(args, global, output)),
        Command::Console(args) => wait_for(console::run(args, global, output)),
        Command::Integrations(command) => wait_for(integrations::run(command, global, output)),
        Command::ServiceAccount(command) => wait_for(service_account::run(command, global, output)),
        Command::Capabilities(args) => wait_for(capabilities::run(&args, global, output)),
        Command::Agents(command) => wait_for(agents::run(command, global, output)),
        Command::Token(args) => wait_for(token::run(&args, global, output)),
        Command::Env(args) => wait_for(token::env(&args, global, output)),
        Command::Exec(args) => exec::run(&args, global, output),
        Command::Wait(args) => wait_for(wait::run(&args, global, output)),
        Command::Status(args) => wait_for(status::run(&args, global, output)),
        Command::Key(command) => wait_for(key::run(command, global, output)),
        Command::Audit(command) => wait_for(audit::run(command, global, output)),
        Command::Backup(args) => wait_for(backup::run(&args, global, output)),
        Command::Restore(args) => wait_for(restore::run(&args, global, output)),
        Command::Store(command) => wait_for(store::run(&command, global, output)),
        Command::Brokers => wait_for(store::brokers(global, output)),
        Command::Doctor(args) => wait_for(doctor::run(&args, global, output)),
    }
}

fn program<A>(name: &str, program: Option<Program<A>>) -> Result<Program<A>, Failure> {
    program.ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            format!("this build of token-broker leaves `{name}` out: it needs the cargo feature `emulator`"),
        )
    })
}
