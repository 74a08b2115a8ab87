//! `token-broker google-emulator`.

use std::{
    io::{self, Write},
    sync::Arc,
};

use crate::{
    cli::{ClientKind, Global, GoogleEmulatorArgs, Outcome, RotationMode},
    clock::SystemClock,
    emulator::{Account, AutoApprove, ClientType, Emulator, Options, Rotation},
    entropy::SystemEntropy,
    lifecycle::{Signals, Wish},
};

/// Runs the emulator until a signal ends it.
pub(super) fn run(_: &Global, args: GoogleEmulatorArgs) -> Outcome {
    super::block_on(emulate(options(args)))
}

fn options(args: GoogleEmulatorArgs) -> Options {
    let defaults = Options::default();
    let accounts = args
        .accounts
        .iter()
        .map(|email| Account::new(email))
        .collect::<Vec<_>>();
    Options {
        listen: args.listen,
        control: args.control,
        allow_non_loopback: args.allow_non_loopback,
        public_url: args.public_url,
        client_id: args.client_id.unwrap_or(defaults.client_id),
        client_secret: args.client_secret.map_or(defaults.client_secret, Into::into),
        client_type: match args.client_type {
            ClientKind::Web => ClientType::Web,
            ClientKind::Desktop => ClientType::Desktop,
        },
        redirect_uris: args.redirect_uris,
        require_pkce: !args.allow_missing_pkce,
        token_lifetime: args.token_lifetime,
        rotation: match args.rotation {
            RotationMode::Off => Rotation::Off,
            RotationMode::Leeway => Rotation::Leeway,
            RotationMode::Strict => Rotation::Strict,
        },
        testing_mode: args.testing_mode,
        token_cap: args.token_cap,
        accounts: if accounts.is_empty() {
            defaults.accounts
        } else {
            accounts
        },
        auto_approve: args.auto_approve.map(|account| AutoApprove {
            account,
            untick: args.untick,
        }),
        risc_receiver: args.risc_receiver,
        ..defaults
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
    let emulator = Emulator::bind(options, Arc::new(SystemClock), Arc::new(SystemEntropy)).await?;
    let mut out = io::stdout().lock();
    writeln!(out, "Google, emulated: {}", emulator.base_url())?;
    writeln!(out, "Control:          {}", emulator.control_url())?;
    writeln!(out, "Accounts:         {}", accounts.join(", "))?;
    writeln!(out, "\n[google]")?;
    writeln!(out, "client_id = \"{}\"", client.0)?;
    // An emulated client's secret protects nothing; the configuration needs it all the same.
    writeln!(out, "client_secret = \"{}\"", client.1.expose())?;
    writeln!(out, "endpoint_base = \"{}\"", emulator.base_url())?;
    out.flush()?;
    drop(out);
    let stop = async move { while signals.next().await != Wish::Stop {} };
    emulator.serve(stop).await;
    Ok(())
}
