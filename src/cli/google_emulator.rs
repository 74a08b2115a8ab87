//! `google-emulator`: its arguments, which are those of the crate `google-emulator`. The emulator itself is started by
//! the composition root.

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  token-broker google-emulator
  token-broker google-emulator --token-lifetime 60s --rotation strict --auto-approve
  token-broker google-emulator --account alice@example.com --testing-mode

Point the daemon at it with `endpoint_base = \"http://127.0.0.1:9005\"` in the section `[google]`. Nothing about \
it is secret: never let it hold anything real.";

/// Run a Google-shaped OAuth server, for tests and demonstrations
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct GoogleEmulatorArgs {
    /// The emulator's own.
    #[cfg(feature = "emulator")]
    #[command(flatten)]
    pub emulator: google_emulator::Arguments,
    /// A build without the emulator takes any arguments, to say that it is left out.
    #[cfg(not(feature = "emulator"))]
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub ignored: Vec<std::ffi::OsString>,
}
