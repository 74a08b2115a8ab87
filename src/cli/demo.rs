//! `demo`: its arguments. What it shows is put together by the composition root.

use std::time::Duration;

use clap::Args;

use crate::text::time_format;

const EXAMPLES: &str = "\
Runs an emulated Google and a daemon in a temporary folder, connects an account, and shows two agents with \
different capabilities while their tokens are renewed. Ctrl-C ends it and leaves nothing behind.

Examples:
  token-broker demo
  token-broker demo --once        # through one renewal, then end: for scripts";

/// Show the broker at work: nothing to install, nothing left behind
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArgs {
    /// End with 0 after the first renewal
    #[arg(long)]
    pub once: bool,
    /// How long each access token lives
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = time_format::parse_duration)]
    pub token_lifetime: Duration,
}
