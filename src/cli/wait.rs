//! `wait`: until an agent has a token.

use std::time::Duration;

use clap::Args;

use super::{
    options::{AgentArgs, Global},
    output::Output,
    ready,
};
use crate::{
    client::exit::{Exit, Outcome},
    text::time_format,
};

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
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = time_format::parse_duration)]
    timeout: Duration,
}

/// Runs `wait`.
pub(super) async fn run(args: &WaitArgs, global: &Global, output: &mut Output) -> Outcome {
    let socket = args.agent.client(global)?;
    ready::until_ready(&socket, args.timeout, output).await?;
    if output.is_json() {
        output.json(&serde_json::json!({ "ready": true }))?;
    }
    Ok(Exit::Ok)
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
