//! `token` and `env`: what an agent has, printed.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::{
    library_variables,
    options::{AgentArgs, Global},
    output::Output,
};
use crate::{
    client::{
        environment::{CREDENTIALS, Environment},
        exit::{Exit, Failure, Outcome},
    },
    id::{CapabilityKey, ProviderId},
    secret::AccessToken,
    text::time_format,
};

const TOKEN_EXAMPLES: &str = "\
Examples:
  curl -H \"Authorization: Bearer $(token-broker token)\" https://gmail.googleapis.com/…
  token-broker token --capability google.calendar.readonly --min-ttl 10m
  token-broker token --agent invoice-bot --output json | jq .expires_at
  token-broker token --integration google-sa
  token-broker token --refresh

Prints the bare token and nothing else; --output json prints the whole answer.";

/// Print an agent's access token
#[derive(Debug, Args)]
#[command(after_help = TOKEN_EXAMPLES)]
pub(super) struct TokenArgs {
    #[command(flatten)]
    agent: AgentArgs,
    /// Narrow the token to this capability of the agent's (repeatable)
    #[arg(long = "capability", value_name = "KEY")]
    capabilities: Vec<CapabilityKey>,
    /// At least this much life, renewing first if need be
    #[arg(long, value_name = "DURATION", value_parser = time_format::parse_duration)]
    min_ttl: Option<Duration>,
    /// Of which provider's account: google, google-sa, or the id of a provider that the configuration
    /// adds; the agent's main one when absent
    #[arg(long, value_name = "KIND")]
    integration: Option<ProviderId>,
    /// Another token, because an API refused the one at hand; limited to a few in a row
    #[arg(long)]
    refresh: bool,
}

const ENV_EXAMPLES: &str = "\
Examples:
  token-broker env > .env
  eval \"$(token-broker env --export)\"
  eval \"$(token-broker env --adc --export)\"      Google's own libraries read adc.json
  token-broker env --metadata > metadata.env       or find the configured metadata server

Without a token the lines that there are come all the same, and the exit code says why.";

/// Print an agent's environment
#[derive(Debug, Args)]
#[command(after_help = ENV_EXAMPLES)]
pub(super) struct EnvArgs {
    #[command(flatten)]
    agent: AgentArgs,
    /// Write `export` before each line
    #[arg(long)]
    export: bool,
    /// Instead, the variable by which Google's own libraries find adc.json
    #[arg(long)]
    adc: bool,
    /// Instead, the variables by which they find the configured metadata server
    #[arg(long, conflicts_with = "adc")]
    metadata: bool,
}

/// The part of `/v1/token` that is printed. No `Debug`: it holds a secret.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
}

/// Runs `token`.
pub(super) async fn run(args: &TokenArgs, global: &Global, output: &mut Output) -> Outcome {
    let body = args.agent.client(global)?.get(&args.target()).await?;
    let malformed = || Failure::new(Exit::Failed, "the daemon's answer to /v1/token is malformed");
    if output.is_json() {
        output.literal(std::str::from_utf8(&body).map_err(|_| malformed())?.trim_end())?;
    } else {
        // The parser's own message could quote the token.
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| malformed())?;
        output.literal(AccessToken::from(answer.access_token).expose())?;
    }
    Ok(Exit::Ok)
}

impl TokenArgs {
    fn target(&self) -> String {
        // A capability's characters need no escaping in a query.
        let capabilities = self.capabilities.iter().map(|key| format!("capability={key}"));
        let min_ttl = self.min_ttl.map(|ttl| format!("min_ttl={}", ttl.as_secs()));
        let integration = self
            .integration
            .as_ref()
            .map(|provider| format!("integration={provider}"));
        let refresh = self.refresh.then(|| "refresh=true".to_owned());
        let query: Vec<String> = capabilities
            .chain(min_ttl)
            .chain(integration)
            .chain(refresh)
            .collect();
        if query.is_empty() {
            "/v1/token".to_owned()
        } else {
            format!("/v1/token?{}", query.join("&"))
        }
    }
}

/// Runs `env`.
pub(super) async fn env(args: &EnvArgs, global: &Global, output: &mut Output) -> Outcome {
    if args.adc || args.metadata {
        return for_libraries(args, global, output);
    }
    let socket = args.agent.client(global)?;
    let environment = Environment::fetch(&socket).await?;
    print(environment.iter(), args.export, output)?;
    if environment.has_token() {
        Ok(Exit::Ok)
    } else {
        Err(Environment::why_no_token(&socket).await)
    }
}

/// The variables for Google's own libraries.
fn for_libraries(args: &EnvArgs, global: &Global, output: &mut Output) -> Outcome {
    let variables = if args.adc {
        library_variables::credentials(&args.agent, global)?
    } else {
        library_variables::metadata(global)?
    };
    if args.metadata && args.export && !output.is_json() {
        // It would go before any metadata server.
        output.literal(&format!("unset {CREDENTIALS}"))?;
    }
    let variables = variables.iter().map(|(name, value)| (*name, value.as_str()));
    print(variables, args.export, output)?;
    Ok(Exit::Ok)
}

fn print<'a>(
    variables: impl Iterator<Item = (&'a str, &'a str)>,
    export: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    if output.is_json() {
        let object: serde_json::Map<_, _> = variables
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        return output.json(&object);
    }
    for (name, value) in variables {
        let line = if export {
            format!("export {name}={}", quoted(value))
        } else {
            format!("{name}={value}")
        };
        output.literal(&line)?;
    }
    Ok(())
}

/// A word that every POSIX shell takes literally.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
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

    #[tokio::test]
    async fn the_bare_token_is_printed() {
        let broker = FakeBroker::start().await;
        broker.set_active("ya29.fake");
        let args: TokenArgs =
            parse(&broker.options(&["--capability", "google.drive", "--min-ttl", "10m", "--refresh"]));
        let (mut output, out, err) = Output::captured(Format::Text);
        assert_eq!(run(&args, &Global::default(), &mut output).await, Ok(Exit::Ok));
        assert_eq!((out.text().as_str(), err.text().as_str()), ("ya29.fake\n", ""));
        assert_eq!(
            broker.requests(),
            ["/v1/token?capability=google.drive&min_ttl=600&refresh=true"]
        );
    }

    #[tokio::test]
    async fn json_is_the_daemons_own_answer() {
        let broker = FakeBroker::start().await;
        broker.set_active("ya29.fake");
        let (mut output, out, _) = Output::captured(Format::Json);
        run(&parse(&broker.options(&[])), &Global::default(), &mut output)
            .await
            .unwrap();
        let value: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
        assert_eq!(value["access_token"], "ya29.fake");
        assert_eq!(value["token_type"], "Bearer");
    }

    #[tokio::test]
    async fn no_token_is_a_failure_and_prints_nothing() {
        let broker = FakeBroker::start().await;
        broker.set_state("reconnect_required", "alice has to connect again");
        let (mut output, out, _) = Output::captured(Format::Text);
        let failure = run(&parse(&broker.options(&[])), &Global::default(), &mut output)
            .await
            .unwrap_err();
        assert_eq!(
            (failure.exit, failure.message.as_str()),
            (Exit::NeedsPerson, "alice has to connect again")
        );
        assert_eq!(out.text(), "");
    }

    #[tokio::test]
    async fn the_environment_is_printed_as_lines_for_a_shell_or_as_json() {
        let broker = FakeBroker::start().await;
        broker.set_active("ya29.fake");
        for (options, format, expected) in [
            (
                vec![],
                Format::Text,
                "GOOGLE_OAUTH_ACCESS_TOKEN=ya29.fake\nTOKEN_BROKER_STATE=active\n",
            ),
            (
                vec!["--export"],
                Format::Text,
                "export GOOGLE_OAUTH_ACCESS_TOKEN='ya29.fake'\nexport TOKEN_BROKER_STATE='active'\n",
            ),
            (
                vec![],
                Format::Json,
                "{\"GOOGLE_OAUTH_ACCESS_TOKEN\":\"ya29.fake\",\"TOKEN_BROKER_STATE\":\"active\"}\n",
            ),
        ] {
            let (mut output, out, _) = Output::captured(format);
            let args = parse(&broker.options(&options));
            assert_eq!(env(&args, &Global::default(), &mut output).await, Ok(Exit::Ok));
            assert_eq!(out.text(), expected);
        }
    }

    #[tokio::test]
    async fn an_environment_without_a_token_says_why() {
        let broker = FakeBroker::start().await;
        broker.set_state("revoked", "alice withdrew it");
        let (mut output, out, _) = Output::captured(Format::Text);
        let failure = env(&parse(&broker.options(&[])), &Global::default(), &mut output)
            .await
            .unwrap_err();
        assert_eq!(out.text(), "TOKEN_BROKER_STATE=revoked\n");
        assert_eq!(
            (failure.exit, failure.message.as_str()),
            (Exit::NeedsPerson, "alice withdrew it")
        );
    }

    #[tokio::test]
    async fn the_variables_for_googles_libraries_need_no_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        std::fs::write(&config, "[metadata]\nlisten = '127.0.0.1:8422'\nagent = 'bot'\n").unwrap();
        let global = Global {
            config: Some(config),
            ..Global::default()
        };
        let (mut output, out, _) = Output::captured(Format::Text);
        let args = parse(&["--metadata", "--export"]);
        assert_eq!(env(&args, &global, &mut output).await, Ok(Exit::Ok));
        let text = out.text();
        // It would go before the metadata server.
        assert!(
            text.starts_with("unset GOOGLE_APPLICATION_CREDENTIALS\n"),
            "{text}"
        );
        assert!(
            text.contains("\nexport GCE_METADATA_HOST='127.0.0.1:8422'\n"),
            "{text}"
        );
    }

    #[test]
    fn shell_words_survive_quotes() {
        assert_eq!(quoted("a'b $c"), r"'a'\''b $c'");
    }
}
