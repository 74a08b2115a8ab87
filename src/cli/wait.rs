//! `wait`: until an agent has a token.

use std::{pin::pin, time::Duration};

use clap::Args;
use tokio::sync::watch;

use super::{
    agent_client::{AgentArgs, AgentSocket, Changes},
    args::Global,
    environment::Environment,
    exit::{Exit, Failure, Outcome},
    output::Output,
    progress,
    situation::Situation,
    when,
};
use crate::file;

/// What the file beside the socket says is no longer, in bytes.
const MOST_TOLD: usize = 256 * 1024;
/// How long to leave a socket alone that is not there or breaks off.
pub(super) const RETRY: Duration = Duration::from_millis(250);
/// How long the first look may take, where nobody wants to wait.
const ONE_LOOK: Duration = Duration::from_secs(2);
/// A change is asked about when it is announced; should an announcement get lost, then at the latest.
const ASK_AGAIN: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  token-broker wait --timeout 2m && ./agent.py
  token-broker wait --agent invoice-bot --timeout 0     # only look

Waits also for the daemon and the socket themselves. Exits with 124 when the time is over.";

/// Wait until an agent has a token
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct WaitArgs {
    #[command(flatten)]
    agent: AgentArgs,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = when::parse_duration)]
    timeout: Duration,
}

/// Runs `wait`.
pub(super) async fn run(args: &WaitArgs, global: &Global, output: &mut Output) -> Outcome {
    let socket = args.agent.client(global)?;
    until_ready(&socket, args.timeout, output).await?;
    if output.is_json() {
        output.json(&serde_json::json!({ "ready": true }))?;
    }
    Ok(Exit::Ok)
}

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
    let situation = told.and_then(|told| Situation::parse(&told).ok());
    let situation = situation.filter(|situation| situation.exit() != Exit::Ok);
    situation.map_or(failure, |situation| situation.failure())
}

fn gave_up(timeout: Duration, reason: Failure) -> Failure {
    let message = format!("no token within {}: {}", when::short(timeout), reason.message);
    Failure {
        exit: Exit::TimedOut,
        message,
        ..reason
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            output::Format,
            testing::{FakeBroker, parse},
        },
        *,
    };

    async fn wait(broker: &FakeBroker, timeout: &str) -> Outcome {
        let (mut output, ..) = Output::captured(Format::Text);
        run(
            &parse(&broker.options(&["--timeout", timeout])),
            &Global::default(),
            &mut output,
        )
        .await
    }

    #[tokio::test]
    async fn an_agent_with_a_token_is_not_waited_for() {
        let broker = FakeBroker::start().await;
        broker.set_active("ya29.fake");
        assert_eq!(wait(&broker, "0").await, Ok(Exit::Ok));
        assert_eq!(broker.requests(), ["/v1/env"]);
    }

    #[tokio::test]
    async fn the_wait_ends_when_the_token_comes() {
        let broker = FakeBroker::start().await;
        broker.set_state("not_connected", "alice has connected no account");
        let connect = async {
            broker.watched().await;
            broker.set_active("ya29.fake");
        };
        let (outcome, ()) = tokio::join!(wait(&broker, "60s"), connect);
        assert_eq!(outcome, Ok(Exit::Ok));
    }

    #[tokio::test]
    async fn a_daemon_that_is_not_there_yet_is_waited_for() {
        let broker = FakeBroker::absent();
        let start = async {
            tokio::task::yield_now().await;
            broker.set_active("ya29.fake");
            broker.listen();
        };
        let (outcome, ()) = tokio::join!(wait(&broker, "60s"), start);
        assert_eq!(outcome, Ok(Exit::Ok));
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_says_nothing_is_waited_for_no_longer_than_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.sock");
        let _silent = tokio::net::UnixListener::bind(&path).unwrap();
        let socket = AgentSocket::new(path);
        for (timeout, most) in [("0", 3), ("30s", 31)] {
            let (mut output, ..) = Output::captured(Format::Text);
            let timeout = when::parse_duration(timeout).unwrap();
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

    #[tokio::test]
    async fn a_wait_that_is_over_says_what_it_waited_for() {
        let broker = FakeBroker::start().await;
        broker.set_state("permission_missing", "alice has not granted google.drive");
        let failure = wait(&broker, "0").await.unwrap_err();
        assert_eq!(failure.exit, Exit::TimedOut);
        assert_eq!(
            failure.message,
            "no token within 0s: alice has not granted google.drive"
        );
        assert_eq!(failure.reason.as_deref(), Some("permission_missing"));
    }
}
