//! `sidecar`: its arguments. What it does is put together by the composition root.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::library_variables::loopback;
use crate::{id::AgentName, relay::Source};

const EXAMPLES: &str = "\
Examples:
  token-broker sidecar --from unix:///agent/broker.sock
  token-broker sidecar --from https://token-broker.example:8443 --agent invoice-bot \\
      --ca-file /etc/token-broker-ca/ca.crt --metadata 127.0.0.1:8422

Runs beside an agent in its pod, until SIGTERM or SIGINT. Keeps `env`, `access_token` and `status.json` in the directory \
that the pod's containers share, serves `broker.sock` there from the first token on, and the GCE metadata protocol where \
--metadata says so. `token-broker wait --timeout 1s` as its startup probe makes it ready at that moment, and says until \
then why there is no token. At its end it takes the token out of the files: nobody would renew it.

While the broker is away, what is at hand is answered for as long as the token lives. Files are readable by the \
directory's group where that is setgid, as Kubernetes makes the volumes of a pod with `fsGroup`; else by this user alone.";

/// Give an agent's tokens to the other containers of its pod
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct SidecarArgs {
    /// Where tokens come from.
    #[arg(
        help = "Where tokens come from: unix:///PATH of an agent's broker.sock, or https://HOST:PORT of a broker",
        long,
        value_name = "URL",
        env = "TOKEN_BROKER_SIDECAR_FROM",
        hide_env_values = true
    )]
    pub from: Source,
    /// Whose tokens; needed with https
    #[arg(
        long,
        value_name = "NAME",
        env = "TOKEN_BROKER_SIDECAR_AGENT",
        hide_env_values = true
    )]
    pub agent: Option<AgentName>,
    /// With https: the pod's projected service-account token; read for each request, because it rotates
    #[arg(
        long,
        value_name = "FILE",
        env = "TOKEN_BROKER_SIDECAR_TOKEN_FILE",
        hide_env_values = true,
        default_value = "/var/run/secrets/token-broker.dev/token"
    )]
    pub token_file: PathBuf,
    /// With https: the authorities of the broker's certificate, in PEM; the system's unless given
    #[arg(
        long,
        value_name = "FILE",
        env = "TOKEN_BROKER_SIDECAR_CA_FILE",
        hide_env_values = true
    )]
    pub ca_file: Option<PathBuf>,
    /// The directory that the pod's containers share
    #[arg(
        long,
        value_name = "PATH",
        env = "TOKEN_BROKER_SIDECAR_DIRECTORY",
        hide_env_values = true,
        default_value = "/run/token-broker"
    )]
    pub directory: PathBuf,
    /// Serve the GCE metadata protocol on this loopback address, such as 127.0.0.1:8422; at port 80, with
    /// `hostAliases` for metadata.google.internal, clients with a fixed host find it as well
    #[arg(long, value_name = "ADDRESS", env = "TOKEN_BROKER_SIDECAR_METADATA", hide_env_values = true, value_parser = loopback)]
    pub metadata: Option<SocketAddr>,
}
