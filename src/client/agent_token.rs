//! Asking an agent's socket for its token: once, or whenever something has changed.

use std::time::Duration;

use super::{
    agent::{AgentSocket, Changes},
    agent_status::AgentStatus,
    environment::Environment,
    exit::{Exit, Failure},
};
use crate::file;

/// What the file beside the socket says is no longer, in bytes.
const MOST_TOLD: usize = 256 * 1024;
/// How long to leave a socket alone that is not there or breaks off.
pub(crate) const RETRY: Duration = Duration::from_millis(250);
/// Waits for something to have changed, or for as long as nothing may be announced; false when there is no stream
/// to wait on.
pub(crate) async fn changed(changes: Option<&mut Changes>, ask_again: Duration) -> bool {
    match changes {
        Some(changes) => match tokio::time::timeout(ask_again, changes.next()).await {
            Ok(event) => event.is_some(),
            Err(_elapsed) => true,
        },
        None => false,
    }
}

/// The agent's environment, or why there is no token in it.
pub(crate) async fn attempt(socket: &AgentSocket) -> Result<Environment, Failure> {
    let environment = Environment::fetch(socket)
        .await
        .map_err(|failure| unless_told(socket, failure))?;
    if environment.has_token() {
        Ok(environment)
    } else {
        Err(Environment::why_no_token(socket).await)
    }
}

/// A sidecar opens its socket with the first token; until then the file beside it says why there is none.
fn unless_told(socket: &AgentSocket, failure: Failure) -> Failure {
    if failure.exit != Exit::Unreachable || socket.path().exists() {
        return failure;
    }
    let told = file::read_whole(&socket.path().with_file_name("status.json"), MOST_TOLD).ok();
    let status = told.and_then(|told| AgentStatus::parse(&told).ok());
    let status = status.filter(|status| status.exit() != Exit::Ok);
    status.map_or(failure, |status| status.failure())
}
