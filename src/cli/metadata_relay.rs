//! A metadata server for the command's Google libraries.

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

use super::library_variables::{self, Variables};
use crate::{
    client::{
        agent::AgentSocket,
        exit::{Exit, Failure},
    },
    relay::MetadataRelay,
};

/// Serves the metadata protocol from the agent's socket for as long as this process lives. Returns what tells the
/// libraries about it.
pub(super) fn serve(socket: &AgentSocket, address: SocketAddr) -> Result<Variables, Failure> {
    let relay = MetadataRelay::bind(socket.path(), address);
    let relay = relay.map_err(|error| {
        let message = format!("--metadata {address} cannot be bound: {error}");
        Failure::new(Exit::Failed, message)
    })?;
    let mut variables = library_variables::for_metadata_at(relay.address());
    for (name, value) in &mut variables {
        if *name == "NO_PROXY"
            && let Some(others) = std::env::var("NO_PROXY").ok().filter(|others| !others.is_empty())
        {
            *value = format!("{others},{value}");
        }
    }
    // Its clients end with this process at the latest.
    tokio::spawn(relay.serve(CancellationToken::new()));
    Ok(variables)
}
