//! `token-broker google-emulator`.

use std::io::{self, Write};

use google_emulator::{Emulator, Options};

use crate::{
    cli::{Global, GoogleEmulatorArgs, Outcome},
    lifecycle::{Signals, Wish},
};

/// Runs the emulator until a signal ends it.
pub(super) fn run(_: &Global, args: GoogleEmulatorArgs) -> Outcome {
    super::runtime::block_on(emulate(of_this_program(args.emulator.into())))
}

/// The emulated project under this program's name.
pub(super) fn of_this_program(options: Options) -> Options {
    Options {
        project_id: "token-broker-emulator".to_owned(),
        app_name: "token-broker".to_owned(),
        ..options
    }
}

async fn emulate(options: Options) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let client = (options.client_id.clone(), options.client_secret.clone());
    let accounts: Vec<String> = options
        .accounts
        .iter()
        .map(|account| account.email.clone())
        .collect();
    let emulator = Emulator::bind(options).await?;
    let mut out = io::stdout().lock();
    writeln!(out, "Google, emulated: {}", emulator.base_url())?;
    writeln!(out, "Control:          {}", emulator.control_url())?;
    writeln!(out, "Accounts:         {}", accounts.join(", "))?;
    writeln!(out, "\n[google]")?;
    writeln!(out, "client_id = \"{}\"", client.0)?;
    // An emulated client's secret protects nothing; the configuration needs it all the same.
    writeln!(out, "client_secret = \"{}\"", client.1)?;
    writeln!(out, "endpoint_base = \"{}\"", emulator.base_url())?;
    out.flush()?;
    drop(out);
    let stop = async move { while signals.next().await != Wish::Stop {} };
    emulator.serve(stop).await;
    Ok(())
}
