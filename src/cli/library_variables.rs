//! The variables that point Google's own client libraries at the broker.

use std::{net::SocketAddr, path::PathBuf};

use super::{
    options::{AgentArgs, Global},
    settings,
};
use crate::{
    address::is_loopback,
    client::{
        agent::DEFAULT_SOCKET,
        environment::CREDENTIALS,
        exit::{Exit, Failure},
    },
    config,
    text::ShowPath,
};

/// Names and values.
pub(super) type Variables = Vec<(&'static str, String)>;

/// Reads an address that nobody reaches from elsewhere.
pub(super) fn loopback(text: &str) -> Result<SocketAddr, String> {
    const EXPECTED: &str = "write a loopback address and port, such as 127.0.0.1:8422";
    let address: SocketAddr = text.parse().map_err(|_| EXPECTED.to_owned())?;
    if is_loopback(address.ip()) {
        Ok(address)
    } else {
        Err(format!("{EXPECTED}: whoever reaches it gets the agent's tokens"))
    }
}

/// For the metadata server at the configured address.
pub(super) fn metadata(global: &Global) -> Result<Variables, Failure> {
    let config = settings::load(global)?;
    let Some(port) = config.metadata.port else {
        return Err(Failure::misconfigured(format!(
            "{} has no metadata.listen and metadata.agent: set both in [metadata], or as {} and {}",
            config.file.shown(),
            config::variable("metadata.listen"),
            config::variable("metadata.agent")
        )));
    };
    if port.listen.port() == 0 {
        let message = "metadata.listen says port 0, so the address is known to the daemon alone: set a port";
        return Err(Failure::misconfigured(message));
    }
    Ok(for_metadata_at(port.listen))
}

/// Host and port without a scheme: that is how the libraries want it.
pub(super) fn for_metadata_at(listen: SocketAddr) -> Variables {
    let host = listen.to_string();
    vec![
        ("GCE_METADATA_HOST", host.clone()),
        ("GCE_METADATA_IP", host.clone()),
        ("GCE_METADATA_ROOT", host),
        ("METADATA_SERVER_DETECTION", "assume-present".to_owned()),
        ("NO_PROXY", listen.ip().to_string()),
        ("GCE_METADATA_MTLS_MODE", "none".to_owned()),
    ]
}

/// For the credential file in the agent's directory.
pub(super) fn credentials(agent: &AgentArgs, global: &Global) -> Result<Variables, Failure> {
    let socket = agent
        .named(global)?
        .unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET));
    let file = socket.with_file_name("adc.json");
    if !file.exists() {
        return Err(Failure::new(
            Exit::NotFound,
            format!(
                "there is no {}: set adc.listen in the daemon's configuration, and mount the agent's directory",
                file.shown()
            ),
        ));
    }
    Ok(vec![(CREDENTIALS, file.display().to_string())])
}

#[cfg(test)]
mod tests {
    use super::{super::testing::parse, *};

    fn with_config(text: &str) -> (tempfile::TempDir, Global) {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        std::fs::write(&config, text).unwrap();
        let global = Global {
            config: Some(config),
            ..Global::default()
        };
        (dir, global)
    }

    #[test]
    fn the_metadata_variables_are_the_ones_that_all_libraries_read() {
        let (_dir, global) = with_config("[metadata]\nlisten = '127.0.0.1:8422'\nagent = 'bot'\n");
        let lines: Vec<_> = metadata(&global)
            .unwrap()
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            lines,
            [
                "GCE_METADATA_HOST=127.0.0.1:8422",
                "GCE_METADATA_IP=127.0.0.1:8422",
                "GCE_METADATA_ROOT=127.0.0.1:8422",
                "METADATA_SERVER_DETECTION=assume-present",
                "NO_PROXY=127.0.0.1",
                "GCE_METADATA_MTLS_MODE=none",
            ]
        );
    }

    #[test]
    fn without_a_port_there_is_nothing_to_print() {
        let (_dir, global) = with_config("");
        let failure = metadata(&global).unwrap_err();
        assert_eq!(failure.exit, Exit::Misconfigured);
        assert!(failure.message.contains("metadata.listen"), "{failure}");
        let (_dir, global) = with_config("[metadata]\nlisten = '127.0.0.1:0'\nagent = 'bot'\n");
        let failure = metadata(&global).unwrap_err();
        assert!(failure.message.contains("port 0"), "{failure}");
    }

    #[test]
    fn the_credential_file_lies_beside_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("broker.sock");
        let socket = ["--socket", socket.to_str().unwrap()];
        let failure = credentials(&parse(&socket), &Global::default()).unwrap_err();
        assert_eq!(failure.exit, Exit::NotFound);
        assert!(failure.message.contains("adc.listen"), "{failure}");
        std::fs::write(dir.path().join("adc.json"), "{}").unwrap();
        let file = dir.path().join("adc.json").display().to_string();
        assert_eq!(
            credentials(&parse(&socket), &Global::default()),
            Ok(vec![(CREDENTIALS, file)])
        );
    }

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
