//! The program `google-emulator`: serves until a signal ends it.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use google_emulator::{Arguments, Emulator, Options};
use tokio::signal::unix::{SignalKind, signal};

const EXAMPLES: &str = "\
Examples:
  google-emulator
  google-emulator --token-lifetime 60s --rotation strict --auto-approve
  google-emulator --account alice@example.com --testing-mode

Nothing about it is secret: never let it hold anything real.";

/// A Google-shaped OAuth server, for tests and demonstrations
#[derive(Parser)]
#[command(name = "google-emulator", version, max_term_width = 100, after_help = EXAMPLES)]
struct Program {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    match run(Program::parse().arguments.into()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody reads it, the exit code still tells.
            let _ = writeln!(io::stderr(), "google-emulator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let accounts: Vec<&str> = options.accounts.iter().map(|one| one.email.as_str()).collect();
    let accounts = accounts.join(", ");
    let (client_id, client_secret) = (options.client_id.clone(), options.client_secret.clone());
    let emulator = Emulator::bind(options).await?;
    let mut out = io::stdout();
    writeln!(out, "Google, emulated: {}", emulator.base_url())?;
    writeln!(out, "Control:          {}", emulator.control_url())?;
    writeln!(out, "Accounts:         {accounts}")?;
    writeln!(out, "Client id:        {client_id}")?;
    // An emulated client's secret protects nothing.
    writeln!(out, "Client secret:    {client_secret}")?;
    out.flush()?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    emulator.serve(stop).await;
    Ok(())
}
