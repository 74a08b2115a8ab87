//! `serve`: its arguments. The daemon itself is put together by the composition root.

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  token-broker serve
  token-broker --config ./config.toml serve -v

Runs in the foreground until SIGTERM or SIGINT; SIGHUP reads the configuration and the manifests again. Tells \
systemd when it is ready. Every key of the configuration can be given as an environment variable as well.";

/// Run the daemon
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {}
