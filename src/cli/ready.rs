//! Waiting until an agent has a token.

use std::{pin::pin, time::Duration};

use tokio::sync::watch;

use super::{output::Output, progress};
use crate::{
    client::{
        agent::AgentSocket,
        agent_token::{RETRY, attempt, changed},
        environment::Environment,
        exit::{Exit, Failure},
    },
    text::time_format,
};

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
