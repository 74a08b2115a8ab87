//! `audit`: lists the lines of the audit trail, and verifies it.

use clap::{Args, Subcommand};

use super::{
    connections,
    json::{AuditEvent, AuditHead},
    options::Global,
    output::Output,
    progress,
    style::{Text, Tone},
};
use crate::{
    client::{
        admin::{Admin, refused},
        exit::{Exit, Outcome},
    },
    clock,
    proto::v1,
    telemetry::audit::ChainPoint,
    text::count,
};

/// What can be done with the audit trail.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(super) enum AuditCommand {
    /// Show the last events, or those after a given one
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// Recompute the chain of hashes; exits with 1 when a line was changed or removed
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
}

const VERIFY_EXAMPLES: &str = "\
Examples:
  token-broker audit verify
  token-broker audit verify --head 1234:9f86d0…   # as the log told it, once a day, or `status`";

const LIST_EXAMPLES: &str = "\
Examples:
  token-broker audit list --limit 20
  token-broker audit list --after 1200 --limit 1000 --output json | jq -c '.events[]'";

// Which events to show.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// The first ones after this sequence number, instead of the last ones
    #[arg(long, value_name = "SEQUENCE")]
    after: Option<u64>,
}

// What is verified.
#[derive(Debug, Default, Args)]
pub(super) struct VerifyArgs {
    /// A line that was the last one once: also exits with 1 when the trail does not lead through it any more, as after an
    /// older copy of the database took its place
    #[arg(long, value_name = "SEQUENCE:HASH")]
    head: Option<ChainPoint>,
}

/// Runs `audit`.
pub(super) async fn run(command: AuditCommand, global: &Global, output: &mut Output) -> Outcome {
    let mut admin = connections::admin(global, output).await?;
    match command {
        AuditCommand::List(args) => list(&args, &mut admin, output).await,
        AuditCommand::Verify(args) => verify(args, &mut admin, output).await,
    }
}

async fn list(args: &ListArgs, admin: &mut Admin, output: &mut Output) -> Outcome {
    let request = v1::ListAuditEventsRequest {
        after_sequence: args.after.unwrap_or_default(),
        limit: args.limit,
        newest: args.after.is_none(),
    };
    let answer = admin
        .list_audit_events(request)
        .await
        .map_err(refused)?
        .into_inner();
    let events: Vec<AuditEvent> = answer.events.into_iter().map(Into::into).collect();
    if output.is_json() {
        output.json(&serde_json::json!({ "events": events }))?;
        return Ok(Exit::Ok);
    }
    if events.is_empty() {
        output.note("There are no such events.");
        return Ok(Exit::Ok);
    }
    let rows = events.into_iter().map(row).collect();
    output.table(
        &[
            "SEQ",
            "TIME",
            "ACTOR",
            "ACTION",
            "DECISION",
            "INTEGRATION",
            "CAPABILITIES",
            "DETAIL",
        ],
        rows,
    )?;
    Ok(Exit::Ok)
}

fn row(event: AuditEvent) -> Vec<Text> {
    let tone = match event.decision.as_str() {
        "allowed" => Tone::Good,
        "denied" => Tone::Bad,
        _ => Tone::Warn,
    };
    let blank = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    vec![
        event.sequence.to_string().into(),
        event.time.map(clock::rfc3339).unwrap_or_default().into(),
        event.actor.into(),
        event.action.into(),
        Text::toned(tone, event.decision),
        blank(event.integration).into(),
        blank(event.capabilities.join(",")).into(),
        event.detail.into(),
    ]
}

async fn verify(args: VerifyArgs, admin: &mut Admin, output: &mut Output) -> Outcome {
    let head = args
        .head
        .map(|ChainPoint { sequence, hash }| v1::AuditHead { sequence, hash });
    let work = admin.verify_audit(v1::VerifyAuditRequest { head });
    let answer = progress::during(output, "recomputing the chain", work)
        .await
        .map_err(refused)?
        .into_inner();
    let head = answer.head.map(AuditHead::from);
    if output.is_json() {
        output.json(&serde_json::json!({
            "intact": answer.intact,
            "events": answer.events,
            "head": head,
            "problem": Some(&answer.problem).filter(|problem| !problem.is_empty()),
        }))?;
    } else if answer.intact {
        let events = count(answer.events, "event", "events");
        output.toned(Tone::Good, &format!("The audit trail is whole: {events}."))?;
        if let Some(head) = head {
            output.line(&format!("head  {head}"))?;
        }
    } else {
        output.toned(
            Tone::Bad,
            &format!("The audit trail is broken: {}", answer.problem),
        )?;
    }
    Ok(if answer.intact { Exit::Ok } else { Exit::Failed })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{output::Format, testing::FakeAdmin},
        *,
    };

    fn event(sequence: u64, decision: &str) -> v1::AuditEvent {
        v1::AuditEvent {
            sequence,
            time: Some(prost_types::Timestamp {
                seconds: 1_705_312_800,
                nanos: 0,
            }),
            actor: "agent:invoice-bot".to_owned(),
            action: "token.issued".to_owned(),
            capabilities: vec!["google.gmail.send".to_owned()],
            decision: decision.to_owned(),
            hash: "ab".repeat(32),
            ..Default::default()
        }
    }

    fn list() -> AuditCommand {
        AuditCommand::List(ListArgs {
            limit: 50,
            after: None,
        })
    }

    #[tokio::test]
    async fn the_trail_is_a_table_or_json() {
        let admin = FakeAdmin {
            audit: vec![event(7, "allowed"), event(8, "denied")],
            ..FakeAdmin::default()
        };
        let server = admin.serve().await;
        let (mut output, out, _) = Output::captured(Format::Text);
        assert_eq!(run(list(), &server.global(), &mut output).await, Ok(Exit::Ok));
        assert_eq!(
            out.text(),
            "SEQ  TIME                  ACTOR              ACTION        DECISION  INTEGRATION  CAPABILITIES       DETAIL\n\
             7    2024-01-15T10:00:00Z  agent:invoice-bot  token.issued  allowed   -            google.gmail.send\n\
             8    2024-01-15T10:00:00Z  agent:invoice-bot  token.issued  denied    -            google.gmail.send\n"
        );
        let (mut output, out, _) = Output::captured(Format::Json);
        run(list(), &server.global(), &mut output).await.unwrap();
        let value: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
        assert_eq!(value["events"][1]["decision"], "denied");
        assert_eq!(value["events"][0]["time"], "2024-01-15T10:00:00Z");
        assert_eq!(server.calls()[0], "audit after=0 limit=50 newest=true");
    }

    #[tokio::test]
    async fn lines_that_are_counted_say_so() {
        let counted = v1::AuditEvent {
            count: 70,
            first_time: Some(prost_types::Timestamp {
                seconds: 1_704_708_000,
                nanos: 0,
            }),
            hash: String::new(),
            detail: "counted: 70 times since 2024-01-08T10:00:00Z".to_owned(),
            ..event(147, "allowed")
        };
        let admin = FakeAdmin {
            audit: vec![counted, event(148, "allowed")],
            ..FakeAdmin::default()
        };
        let server = admin.serve().await;
        let (mut output, out, _) = Output::captured(Format::Json);
        run(list(), &server.global(), &mut output).await.unwrap();
        let value: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
        let (counted, line) = (&value["events"][0], &value["events"][1]);
        assert_eq!(
            (&counted["count"], &counted["first_time"]),
            (&70.into(), &"2024-01-08T10:00:00Z".into())
        );
        assert!(counted.get("hash").is_none(), "{counted}");
        assert!(
            line.get("count").is_none() && line.get("hash").is_some(),
            "{line}"
        );
        let (mut output, out, _) = Output::captured(Format::Text);
        run(list(), &server.global(), &mut output).await.unwrap();
        assert!(out.text().contains("counted: 70 times since"), "{}", out.text());
    }

    fn verify(head: Option<ChainPoint>) -> AuditCommand {
        AuditCommand::Verify(VerifyArgs { head })
    }

    #[tokio::test]
    async fn a_head_that_was_noted_down_is_passed_on_and_the_present_one_is_told() {
        let server = FakeAdmin::default().serve().await;
        let (mut output, out, _) = Output::captured(Format::Text);
        let head = format!("7:{}", "cd".repeat(32));
        let command = verify(head.parse().ok());
        assert_eq!(run(command, &server.global(), &mut output).await, Ok(Exit::Ok));
        assert_eq!(server.calls(), [format!("verify through {head}")]);
        assert_eq!(
            out.text(),
            format!(
                "The audit trail is whole: 0 events.\nhead  1234:{}\n",
                "ab".repeat(32)
            )
        );
    }

    #[tokio::test]
    async fn a_broken_chain_is_a_failure() {
        let broken = FakeAdmin {
            audit_problem: "line 8 does not follow line 7".to_owned(),
            ..FakeAdmin::default()
        };
        let server = broken.serve().await;
        let (mut output, out, _) = Output::captured(Format::Text);
        assert_eq!(
            run(verify(None), &server.global(), &mut output).await,
            Ok(Exit::Failed)
        );
        assert_eq!(
            out.text(),
            "The audit trail is broken: line 8 does not follow line 7\n"
        );

        let server = FakeAdmin::default().serve().await;
        let (mut output, out, _) = Output::captured(Format::Json);
        assert_eq!(
            run(verify(None), &server.global(), &mut output).await,
            Ok(Exit::Ok)
        );
        let told = format!("\"head\":{{\"hash\":\"{}\",\"sequence\":1234}}", "ab".repeat(32));
        assert_eq!(
            out.text(),
            format!("{{\"events\":0,{told},\"intact\":true,\"problem\":null}}\n")
        );
    }
}
