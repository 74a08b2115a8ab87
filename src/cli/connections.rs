//! From a command's options to the daemon.

use std::path::PathBuf;

use super::{
    options::{AgentArgs, Global},
    output::Output,
    settings,
};
use crate::{
    client::{
        admin::{self, Admin},
        agent::{AgentSocket, DEFAULT_SOCKET},
        exit::Failure,
        remote,
    },
    text::ShowPath,
};

const SOCKET_VARIABLE: &str = "TOKEN_BROKER_SOCKET";

/// Connects to the daemon: its admin socket, or over TLS where it is on another machine.
pub(super) async fn admin(global: &Global, output: &mut Output) -> Result<Admin, Failure> {
    if let Some(server) = global.remote()? {
        if global.verbose > 0 {
            output.note(&format!("broker: {}", server.url));
        }
        return remote::open(&server).await;
    }
    let socket = settings::admin_socket(global)?;
    if global.verbose > 0 {
        output.note(&format!("admin socket: {}", socket.shown()));
    }
    admin::open(&socket)
        .await
        .map_err(|error| admin::unreachable(&socket, &error))
}

impl AgentArgs {
    /// The socket that these options name, or the environment; `None` when nothing does.
    pub(super) fn named(&self, global: &Global) -> Result<Option<PathBuf>, Failure> {
        if let Some(agent) = &self.agent {
            return settings::agent_socket(agent, global).map(Some);
        }
        let given = std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty());
        Ok(self.socket.clone().or_else(|| given.map(PathBuf::from)))
    }

    /// The socket to use.
    pub(super) fn client(&self, global: &Global) -> Result<AgentSocket, Failure> {
        let named = self.named(global)?;
        Ok(AgentSocket::new(named.unwrap_or_else(|| DEFAULT_SOCKET.into())))
    }
}
