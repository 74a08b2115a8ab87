//! A metadata server for the command's Google libraries.

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

use super::super::{
    agent_client::AgentSocket,
    exit::{Exit, Failure},
    library_variables::{self, Variables},
};
use crate::delivery::sidecar::MetadataRelay;

/// Reads an address that nobody reaches from elsewhere.
pub(super) fn loopback(text: &str) -> Result<SocketAddr, String> {
    const EXPECTED: &str = "write a loopback address and port, such as 127.0.0.1:8422";
    let address: SocketAddr = text.parse().map_err(|_| EXPECTED.to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(format!("{EXPECTED}: whoever reaches it gets the agent's tokens"))
    }
}

/// Serves the metadata protocol from the agent's socket for as long as this process lives. Returns what tells the
/// libraries about it.
pub(super) async fn serve(socket: &AgentSocket, address: SocketAddr) -> Result<Variables, Failure> {
    let relay = MetadataRelay::bind(socket.path(), address).await;
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
    // Whoever asks ends with this process at the latest.
    tokio::spawn(relay.serve(CancellationToken::new()));
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_address_will_do() {
        assert_eq!(loopback("127.0.0.1:0").unwrap().port(), 0);
        assert!(loopback("[::1]:8422").is_ok());
        for wrong in ["8422", "localhost:8422", "http://127.0.0.1:8422"] {
            assert!(loopback(wrong).unwrap_err().contains("127.0.0.1:8422"), "{wrong}");
        }
        assert!(
            loopback("0.0.0.0:8422")
                .unwrap_err()
                .contains("whoever reaches it")
        );
    }
}
