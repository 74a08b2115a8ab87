//! What the configuration says to a client: where the daemon's sockets are, and what the catalogue holds.

use std::path::{Path, PathBuf};

use super::options::Global;
use crate::{
    capability::Catalog,
    client::exit::Failure,
    config::{self, Config},
    file,
    id::AgentName,
};

/// Reads the configuration and the environment.
pub(super) fn load(global: &Global) -> Result<Config, Failure> {
    Config::load(global.config.as_deref(), config::environment())
        .map_err(|error| Failure::misconfigured(error.to_string()))
}

/// The admin socket to talk to.
pub(super) fn admin_socket(global: &Global) -> Result<PathBuf, Failure> {
    match &global.admin_socket {
        Some(socket) => Ok(socket.clone()),
        None => Ok(runtime_dir(global)?.join("admin.sock")),
    }
}

/// The socket of an agent on this node.
pub(super) fn agent_socket(agent: &AgentName, global: &Global) -> Result<PathBuf, Failure> {
    Ok(runtime_dir(global)?
        .join("agents")
        .join(agent.as_str())
        .join("broker.sock"))
}

/// The capabilities that agents can ask for.
pub(super) fn catalog(global: &Global) -> Result<Catalog, Failure> {
    if !may_read(global) {
        return Ok(Catalog::builtin());
    }
    Catalog::configured(&load(global)?).map_err(|error| Failure::misconfigured(error.to_string()))
}

fn runtime_dir(global: &Global) -> Result<PathBuf, Failure> {
    if may_read(global) {
        return Ok(load(global)?.runtime_dir);
    }
    let given = std::env::var_os(config::variable("runtime_dir")).filter(|dir| !dir.is_empty());
    Ok(given.map_or_else(|| config::DEFAULT_RUNTIME_DIR.into(), PathBuf::from))
}

/// False where the default configuration is there and not for this user, who may manage the daemon all the
/// same: then the defaults have to do. A file that was named has to be readable.
fn may_read(global: &Global) -> bool {
    let denied = |path: &Path| {
        file::open(path).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    };
    global.config.is_some() || !denied(Path::new(crate::config::DEFAULT_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::exit::Exit;

    #[test]
    fn sockets_lie_in_the_configured_runtime_dir() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        std::fs::write(&config, "runtime_dir = \"/run/elsewhere\"\n").unwrap();
        let mut global = Global {
            config: Some(config),
            ..Global::default()
        };
        assert_eq!(admin_socket(&global), Ok("/run/elsewhere/admin.sock".into()));
        let agent = "bot".parse().unwrap();
        assert_eq!(
            agent_socket(&agent, &global),
            Ok("/run/elsewhere/agents/bot/broker.sock".into())
        );
        global.admin_socket = Some("/tmp/a.sock".into());
        assert_eq!(admin_socket(&global), Ok("/tmp/a.sock".into()));
    }

    #[test]
    fn a_named_configuration_has_to_be_there_and_right() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        let global = Global {
            config: Some(config.clone()),
            ..Global::default()
        };
        assert_eq!(admin_socket(&global).unwrap_err().exit, Exit::Misconfigured);
        std::fs::write(&config, "runtime_dirr = \"/x\"\n").unwrap();
        let failure = admin_socket(&global).unwrap_err();
        assert!(failure.message.contains("config.toml:1"), "{failure}");
    }
}
