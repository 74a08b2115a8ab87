//! `console`: a link that signs one browser in, and the end of all of them.

use clap::Args;
use serde::Serialize;

use super::{browser, connections, options::Global, output::Output};
use crate::{
    client::{
        admin::refused,
        exit::{Exit, Outcome},
    },
    id::OwnerId,
    proto::{
        self,
        v1::{BeginSessionRequest, EndSessionsRequest, EndSessionsResponse},
    },
    text::count,
    text::time_format,
};

const EXAMPLES: &str = "\
Examples:
  token-broker console
  token-broker console --owner alice --no-browser
  token-broker console --page activity --output json
  token-broker console --sign-out --owner alice

Standard output carries the address alone on a line. It signs in the first browser that opens it, once, within \
five minutes: as the operator, who sees everything, or with --owner as that owner, who sees their own accounts and \
agents. Whoever sees the address can use it: on a machine that you share, use --no-browser, because a browser's \
arguments can be seen by others.";

/// Open the console in a browser
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ConsoleArgs {
    /// Sign in as this owner, instead of as the operator
    #[arg(long)]
    owner: Option<OwnerId>,
    /// The page to begin with, such as `agents/invoice-bot`, `activity` or `health`
    #[arg(long, default_value = "")]
    page: String,
    /// Where the console leads back to; the configuration has to allow its origin
    #[arg(long, value_name = "URL", default_value = "")]
    return_url: String,
    /// Only print the address
    #[arg(long)]
    no_browser: bool,
    /// Sign everybody out instead, or --owner, and take back links that nobody used yet
    #[arg(long, conflicts_with_all = ["page", "return_url", "no_browser"])]
    sign_out: bool,
}

#[derive(Serialize)]
struct Link {
    url: String,
    expires_at: Option<jiff::Timestamp>,
}

#[derive(Serialize)]
struct Ended {
    sessions: u64,
    links: u64,
}

/// Runs `console`.
pub(super) async fn run(args: ConsoleArgs, global: &Global, output: &mut Output) -> Outcome {
    let mut admin = connections::admin(global, output).await?;
    let owner = args.owner.map(|owner| owner.to_string()).unwrap_or_default();
    if args.sign_out {
        let ended = admin.end_sessions(EndSessionsRequest { owner }).await;
        let ended = ended.map_err(refused)?.into_inner();
        return signed_out(&ended, output);
    }
    let request = BeginSessionRequest {
        owner,
        page: args.page,
        return_url: args.return_url,
    };
    let link = admin.begin_session(request).await.map_err(refused)?.into_inner();
    let expires_at = proto::moment(link.expires_at);
    if output.is_json() {
        output.json(&Link {
            url: link.url.clone(),
            expires_at,
        })?;
        return Ok(Exit::Ok);
    }
    output.literal(&link.url)?;
    let opened = !args.no_browser && browser::open(&link.url);
    output.note(if opened {
        "Your browser was asked to open this address."
    } else {
        "Open this address in a browser."
    });
    if let Some(until) = expires_at {
        let until = time_format::clock_first(output.now(), until);
        output.note(&format!("It works once, until {until}."));
    }
    Ok(Exit::Ok)
}

fn signed_out(ended: &EndSessionsResponse, output: &mut Output) -> Outcome {
    let EndSessionsResponse { sessions, links } = *ended;
    if output.is_json() {
        output.json(&Ended { sessions, links })?;
    } else {
        let sessions = count(sessions, "session", "sessions");
        let links = count(links, "unused link", "unused links");
        output.line(&format!("Ended {sessions} and {links}."))?;
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            output::Format,
            testing::{FakeAdmin, parse},
        },
        *,
    };

    async fn printed(line: &[&str], format: Format) -> (String, String) {
        let server = FakeAdmin::default().serve().await;
        let (mut output, out, notes) = Output::captured(format);
        let args: ConsoleArgs = parse(line);
        assert_eq!(run(args, &server.global(), &mut output).await, Ok(Exit::Ok));
        (out.text(), notes.text())
    }

    #[tokio::test]
    async fn the_address_stands_alone_on_standard_output() {
        let line = ["--owner", "alice", "--page", "agents", "--no-browser"];
        let (out, notes) = printed(&line, Format::Text).await;
        assert_eq!(
            out,
            "http://127.0.0.1:8420/console/sign-in?link=l1nk&owner=alice&page=agents\n"
        );
        assert!(notes.contains("Open this address in a browser."), "{notes}");
        assert!(notes.contains("It works once, until"), "{notes}");
    }

    #[tokio::test]
    async fn people_are_signed_out() {
        let (out, _) = printed(&["--sign-out", "--owner", "alice"], Format::Text).await;
        assert_eq!(out, "Ended 1 session and 2 unused links.\n");
        let (out, _) = printed(&["--sign-out"], Format::Json).await;
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value, serde_json::json!({"sessions": 1, "links": 2}));
    }

    #[tokio::test]
    async fn programs_get_an_object() {
        let (out, notes) = printed(&[], Format::Json).await;
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            value["url"],
            "http://127.0.0.1:8420/console/sign-in?link=l1nk&owner=&page="
        );
        assert_eq!(value["expires_at"], "2024-01-15T12:05:00Z");
        assert_eq!(notes, "");
    }
}
