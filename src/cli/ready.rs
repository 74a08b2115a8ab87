//! Waiting until an agent has a token.

use std::{pin::pin, time::Duration};

use tokio::sync::watch;

use super::{output::Output, progress};
use crate::{
    client::{
        agent::{AgentSocket, Changes},
        agent_status::AgentStatus,
        environment::Environment,
        exit::{Exit, Failure},
    },
    file,
    text::time_format,
};

/// What the file beside the socket says is no longer, in bytes.
const MOST_TOLD: usize = 256 * 1024;
/// How long to leave a socket alone that is not there or breaks off.
pub(super) const RETRY: Duration = Duration::from_millis(250);
/// How long the first look may take, where nobody wants to wait.
const ONE_LOOK: Duration = Duration::from_secs(2);
/// A change is asked about when it is announced; should an announcement get lost, then at the latest.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Waits until the agent has a token, and returns its environment.
pub(super) async fn until_ready(
    socket: &AgentSocket,
    timeout: Duration,
    output: &mut Output,
) -> Result<Environment, Failure> {
    let mut over = pin!(tokio::time::sleep(timeout.max(ONE_LOOK)));
    let first = tokio::select! {
        first = attempt(socket) => first,
        () = &mut over => Err(socket.unanswered()),
    };
    let mut reason = match first {
        Ok(environment) => return Ok(environment),
        Err(reason) => reason,
    };
    let (told, reasons) = watch::channel(reason.message.clone());
    let waiting = async {
        tokio::select! {
            waited = tokio::time::timeout(timeout, keep_trying(socket, &mut reason, &told)) => waited.ok(),
            () = over => None,
        }
    };
    let done = progress::during_telling(output, "waiting for a token", reasons, waiting).await;
    done.ok_or_else(|| gave_up(timeout, reason))
}

async fn keep_trying(
    socket: &AgentSocket,
    reason: &mut Failure,
    told: &watch::Sender<String>,
) -> Environment {
    loop {
        // The stream is opened before the question, so that no change falls between the two.
        let mut changes = socket.watch().await.ok();
        loop {
            match attempt(socket).await {
                Ok(environment) => return environment,
                Err(failure) => {
                    told.send_if_modified(|told| {
                        let differs = *told != failure.message;
                        told.clone_from(&failure.message);
                        differs
                    });
                    *reason = failure;
                }
            }
            if !changed(changes.as_mut(), ASK_AGAIN).await {
                break;
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Waits for something to have changed, or for as long as nothing may be announced; false when there is no stream
/// to wait on.
pub(super) async fn changed(changes: Option<&mut Changes>, ask_again: Duration) -> bool {
    match changes {
        Some(changes) => match tokio::time::timeout(ask_again, changes.next()).await {
            Ok(event) => event.is_some(),
            Err(_elapsed) => true,
        },
        None => false,
    }
}

/// The agent's environment, or why there is no token in it.
pub(super) async fn attempt(socket: &AgentSocket) -> Result<Environment, Failure> {
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

fn gave_up(timeout: Duration, reason: Failure) -> Failure {
    let message = format!(
        "no token within {}: {}",
        time_format::short(timeout),
        reason.message
    );
    Failure {
        exit: Exit::TimedOut,
        message,
        ..reason
    }
}

#[cfg(test)]
mod tests {
    use super::{super::output::Format, *};

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_says_nothing_is_waited_for_no_longer_than_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.sock");
        let _silent = tokio::net::UnixListener::bind(&path).unwrap();
        let socket = AgentSocket::new(path);
        for (timeout, most) in [("0", 3), ("30s", 31)] {
            let (mut output, ..) = Output::captured(Format::Text);
            let timeout = time_format::parse_duration(timeout).unwrap();
            let waited = until_ready(&socket, timeout, &mut output);
            let waited = tokio::time::timeout(Duration::from_secs(most), waited).await;
            let failure = waited.expect("it ends in time").err().unwrap();
            assert_eq!(failure.exit, Exit::TimedOut);
            assert!(
                failure.message.contains("the daemon has not answered on "),
                "{failure}"
            );
        }
    }
}
