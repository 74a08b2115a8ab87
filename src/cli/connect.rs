//! `connect`: a person gives consent in a browser, and this command waits for the outcome.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{browser, connections, json, options::Global, output::Output, progress};
use crate::{
    client::{
        admin::{Admin, refused, required},
        exit::{Exit, Failure, Outcome},
    },
    id::{CapabilityKey, OwnerId},
    proto::{
        self,
        v1::{BeginConnectRequest, WaitConnectRequest, WaitConnectResponse},
    },
    text::time_format,
};

const EXAMPLES: &str = "\
Examples:
  token-broker connect --owner alice --capability google.gmail.send
  token-broker connect --owner alice --capability google.calendar --capability google.drive.readonly
  token-broker connect --owner alice --capability google.sheets --no-browser --output json
  token-broker connect --owner alice --account new --capability google.calendar

Standard output carries the address to open, alone on its first line, and the outcome after it. On an owner \
who is connected already this adds permissions: what was granted before is kept. Another account of the same \
owner is connected with --account. Exits with 0 only when the account is connected. Whoever sees the address can finish the consent: on a machine that you share, use \
--no-browser, because a browser's arguments can be seen by others.";

/// Connect a person's Google account, or add permissions to it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ConnectArgs {
    /// Whose account it is to be, as the platform names them
    #[arg(long)]
    owner: OwnerId,
    /// Which of the owner's accounts: an address, or `new` for another one; needed where there are several
    #[arg(long, value_name = "ADDRESS|new")]
    account: Option<String>,
    #[command(flatten)]
    consent: ConsentArgs,
}

// What is asked for, and how.
#[derive(Debug, Args)]
pub(super) struct ConsentArgs {
    /// What agents shall be able to do (repeatable); `token-broker capabilities` lists them
    #[arg(long = "capability", value_name = "KEY", required = true)]
    capabilities: Vec<CapabilityKey>,
    /// Only print the address
    #[arg(long)]
    no_browser: bool,
    /// How long to wait for the person
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = time_format::parse_duration)]
    timeout: Duration,
    /// Where the browser goes afterwards; the configuration has to allow its origin
    #[arg(long, value_name = "URL")]
    return_url: Option<String>,
}

#[derive(Serialize)]
struct Connected {
    #[serde(flatten)]
    integration: json::Integration,
    capabilities_missing: Vec<String>,
}

/// Runs `connect`.
pub(super) async fn run(args: ConnectArgs, global: &Global, output: &mut Output) -> Outcome {
    let mut admin = connections::admin(global, output).await?;
    let request = BeginConnectRequest {
        owner: args.owner.to_string(),
        account: args.account.unwrap_or_default(),
        ..BeginConnectRequest::default()
    };
    consent(request, &args.consent, &mut admin, output).await
}

/// Asks for the consent that `request` names, and waits for its end.
pub(super) async fn consent(
    request: BeginConnectRequest,
    args: &ConsentArgs,
    admin: &mut Admin,
    output: &mut Output,
) -> Outcome {
    let request = BeginConnectRequest {
        capabilities: args.capabilities.iter().map(ToString::to_string).collect(),
        return_url: args.return_url.clone().unwrap_or_default(),
        ..request
    };
    let begun = admin.begin_connect(request).await.map_err(refused)?.into_inner();
    if !begun.agents_in_doubt.is_empty() {
        output.note(&format!(
            "These agents name no account, and stop once a second one is connected, until their manifests say (with \
             `account:`, or below `accounts:` for a provider of the configuration) which one they use: {}.",
            begun.agents_in_doubt.join(", ")
        ));
    }
    output.literal(&begun.authorization_url)?;
    let opened = !args.no_browser && browser::open(&begun.authorization_url);
    output.note(if opened {
        "Your browser was asked to open this address. Sign in there, and approve."
    } else {
        "Open this address in a browser, sign in, and approve."
    });
    if let Some(until) = proto::moment(begun.expires_at) {
        output.note(&format!(
            "It works until {}.",
            time_format::clock_first(output.now(), until)
        ));
    }
    let at = At {
        is_google: matches!(begun.provider.as_str(), "" | "google"),
        name: begun.provider_name.clone(),
    };
    let wait = admin.wait_connect(WaitConnectRequest {
        connect_id: begun.connect_id.clone(),
    });
    let wait = tokio::time::timeout(args.timeout, wait);
    match progress::during(output, "waiting for the consent", wait).await {
        Ok(answer) => report(answer.map_err(refused)?.into_inner(), output),
        Err(_elapsed) => Err(at.never_came_back(args.timeout)),
    }
}

fn report(answer: WaitConnectResponse, output: &mut Output) -> Outcome {
    let connected = Connected {
        integration: required(answer.integration)?.into(),
        capabilities_missing: answer.capabilities_missing,
    };
    if output.is_json() {
        output.json(&connected)?;
        return Ok(Exit::Ok);
    }
    let Connected {
        integration,
        capabilities_missing,
    } = connected;
    output.line(&format!(
        "Connected {} for {} ({})",
        integration.account, integration.owner, integration.id
    ))?;
    output.line(&format!("  granted: {}", list(&integration.capabilities)))?;
    if !capabilities_missing.is_empty() {
        output.line(&format!("  missing: {}", list(&capabilities_missing)))?;
        output.note(&format!(
            "The person left something unticked. To ask again: token-broker integrations add-permissions {} \
             --capability {}",
            integration.id,
            capabilities_missing.join(" --capability "),
        ));
    }
    Ok(Exit::Ok)
}

fn list(keys: &[String]) -> String {
    if keys.is_empty() {
        "nothing".to_owned()
    } else {
        keys.join(", ")
    }
}

/// Whose page the person was sent to.
struct At {
    /// A daemon that does not say whose it is knows no other.
    is_google: bool,
    name: String,
}

impl At {
    /// Some refusals are pages of the provider's own that never redirect: nobody learns of them but the person.
    fn never_came_back(&self, waited: Duration) -> Failure {
        let waited = time_format::short(waited);
        let message = if self.is_google {
            never_came_back_from_google(&waited)
        } else {
            format!(
                "nobody came back from {} within {waited}. If its own page showed an error, that is why, for it does not \
                 come back here. Otherwise run the command again, with a longer --timeout",
                self.name
            )
        };
        Failure::new(Exit::TimedOut, message)
    }
}

fn never_came_back_from_google(waited: &str) -> String {
    format!(
        "nobody came back from Google within {waited}. If Google's own page showed an error, that is why, for it \
             does not come back here: redirect_uri_mismatch (add the callback address to the OAuth client), \
             invalid_client or deleted_client (check client_id), \"Access blocked\" with invalid_request (check \
             the client's type), org_internal (the consent screen admits only its own organization), \
             admin_policy_enforced (the Workspace administrator has to allow the app), disallowed_useragent \
             (use a normal browser). Otherwise run the command again, with a longer --timeout"
    )
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            output::{Format, testing::Captured},
            testing::{FakeAdmin, parse},
        },
        *,
    };

    async fn connect(admin: FakeAdmin, format: Format, extra: &[&str]) -> (Outcome, Captured, Captured) {
        let server = admin.serve().await;
        let mut line = vec![
            "--owner",
            "alice",
            "--capability",
            "google.gmail.send",
            "--no-browser",
        ];
        line.extend_from_slice(extra);
        let (mut output, out, err) = Output::captured(format);
        let outcome = run(parse::<ConnectArgs>(&line), &server.global(), &mut output).await;
        (outcome, out, err)
    }

    #[tokio::test]
    async fn the_address_stands_alone_and_the_outcome_follows() {
        let (outcome, out, err) = connect(FakeAdmin::default(), Format::Text, &[]).await;
        assert_eq!(outcome, Ok(Exit::Ok));
        assert_eq!(
            out.text(),
            "https://accounts.google.com/o/oauth2/v2/auth?owner=alice\n\
             Connected alice@example.com for alice (int_00000000000000000001)\n  \
             granted: google.gmail.send, google.calendar.readonly\n"
        );
        assert!(
            err.text().contains("until 2024-01-15T12:10:00Z (in 10m)"),
            "{}",
            err.text()
        );
    }

    #[tokio::test]
    async fn another_account_is_named_and_the_agents_that_it_would_stop_are_told() {
        let admin = FakeAdmin {
            agents_in_doubt: vec!["invoice-bot".to_owned()],
            ..FakeAdmin::default()
        };
        let server = admin.serve().await;
        let (mut output, _, err) = Output::captured(Format::Text);
        let line = [
            "--owner",
            "alice",
            "--account",
            "new",
            "--capability",
            "google.drive",
            "--no-browser",
        ];
        let outcome = run(parse::<ConnectArgs>(&line), &server.global(), &mut output).await;
        assert_eq!(outcome, Ok(Exit::Ok));
        assert_eq!(server.calls()[0], "begin alice new google.drive");
        assert!(
            err.text().contains("which one they use: invoice-bot."),
            "{}",
            err.text()
        );
    }

    #[tokio::test]
    async fn with_json_one_object_comes_last() {
        let admin = FakeAdmin {
            missing: vec!["google.drive".to_owned()],
            ..FakeAdmin::default()
        };
        let (outcome, out, _) = connect(admin, Format::Json, &[]).await;
        assert_eq!(outcome, Ok(Exit::Ok));
        let text = out.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("https://"));
        let object: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(object["account"], "alice@example.com");
        assert_eq!(object["capabilities"][0], "google.gmail.send");
        assert_eq!(object["capabilities_missing"][0], "google.drive");
    }

    #[tokio::test]
    async fn what_is_missing_comes_with_the_command_that_adds_it() {
        let missing = vec!["google.drive".to_owned(), "google.docs".to_owned()];
        let (_, out, err) = connect(
            FakeAdmin {
                missing,
                ..FakeAdmin::default()
            },
            Format::Text,
            &[],
        )
        .await;
        assert!(out.text().contains("missing: google.drive, google.docs"));
        assert!(err.text().contains(
            "integrations add-permissions int_00000000000000000001 --capability google.drive --capability \
                 google.docs"
        ));
    }

    #[tokio::test]
    async fn a_consent_that_never_comes_back_names_googles_own_pages() {
        let admin = FakeAdmin {
            consent: None,
            ..FakeAdmin::default()
        };
        let (outcome, out, _) = connect(admin, Format::Text, &["--timeout", "10ms"]).await;
        let failure = outcome.unwrap_err();
        assert_eq!(failure.exit, Exit::TimedOut);
        assert!(failure.message.contains("within 10ms"), "{failure}");
        for page in [
            "redirect_uri_mismatch",
            "admin_policy_enforced",
            "org_internal",
            "disallowed_useragent",
        ] {
            assert!(failure.message.contains(page), "{page}");
        }
        assert_eq!(out.text().lines().count(), 1);
    }

    #[tokio::test]
    async fn a_refusal_ends_with_its_own_exit() {
        let refusal = FakeAdmin::refusal("permission_missing", "alice said no", "http://127.0.0.1:8420/fix");
        let admin = FakeAdmin {
            consent: Some(Err(refusal)),
            ..FakeAdmin::default()
        };
        let (outcome, ..) = connect(admin, Format::Text, &[]).await;
        let failure = outcome.unwrap_err();
        assert_eq!(
            (failure.exit, failure.message.as_str()),
            (Exit::NeedsPerson, "alice said no")
        );
        assert_eq!(failure.action_url.as_deref(), Some("http://127.0.0.1:8420/fix"));
    }
}
