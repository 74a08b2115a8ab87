//! `key`: the keyring's keys, their rotation, and the seal that wraps them.

use clap::{Args, Subcommand};
use tokio::sync::watch;
use tonic::Streaming;

use super::{
    connections,
    json::{Keyring, KeyringKey},
    options::Global,
    output::Output,
    progress,
    style::{Text, Tone},
};
use crate::{
    client::{
        admin::{Admin, refused},
        exit::{Exit, Failure, Outcome},
    },
    clock,
    proto::v1,
    text::count,
};

/// What can be done with the keys that the database is sealed with.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(super) enum KeyCommand {
    /// Replace the key that rows are sealed with, and move all of them, while everything goes on
    #[command(after_help = ROTATE_EXAMPLES)]
    Rotate(RotateArgs),
    /// Wrap the keys with another seal, or with another key of the same
    #[command(after_help = RESEAL_EXAMPLES)]
    Reseal(ResealArgs),
    /// Show the keys, what wraps them, and how many rows need each
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Open every row; exits with 1 when one does not open, or was not written by this broker
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
}

const ROTATE_EXAMPLES: &str = "\
Examples:
  token-broker key rotate
  token-broker key rotate --output json | jq .rows_moved

Agents and people notice nothing. It goes on when this command is interrupted, and after a restart of the daemon: `token-broker key status` \
shows how far it is. The key that was replaced is kept, wrapped, for key.keep_days, so that a backup from before can \
be restored.";

const RESEAL_EXAMPLES: &str = "\
Examples:
  token-broker key reseal                                        # with key.source, as the configuration on disk names it
  token-broker key reseal --to file:/etc/token-broker/new.key
  token-broker key reseal --to kms:unix:///run/kms.sock

Write the new seal into key.source first: the next start of the daemon reads it there. No row is touched, and the seal from \
before is not needed any more when the command has ended, except for backups that were made before it.";

const STATUS_EXAMPLES: &str = "\
Examples:
  token-broker key status
  token-broker key status --output json | jq '.keys[] | {id, state, rows}'";

const VERIFY_EXAMPLES: &str = "\
Examples:
  token-broker key verify
  token-broker key verify --output json | jq .unusable";

// A rotation has no arguments.
#[derive(Debug, Default, Args)]
pub(super) struct RotateArgs {}

// Which seal.
#[derive(Debug, Default, Args)]
pub(super) struct ResealArgs {
    /// The seal, in the form of key.source; the one that the configuration on disk names unless given
    #[arg(long, value_name = "SEAL")]
    to: Option<String>,
}

// All of it is shown.
#[derive(Debug, Default, Args)]
pub(super) struct StatusArgs {}

// All of it is verified.
#[derive(Debug, Default, Args)]
pub(super) struct VerifyArgs {}

/// Runs `key`.
pub(super) async fn run(command: KeyCommand, global: &Global, output: &mut Output) -> Outcome {
    let mut admin = connections::admin(global, output).await?;
    match command {
        KeyCommand::Rotate(RotateArgs {}) => rotate(&mut admin, output).await,
        KeyCommand::Reseal(args) => reseal(args, &mut admin, output).await,
        KeyCommand::Status(StatusArgs {}) => status(&mut admin, output).await,
        KeyCommand::Verify(VerifyArgs {}) => verify(&mut admin, output).await,
    }
}

/// The daemon closed the stream, and what it told last was not the end.
fn cut_off() -> Failure {
    Failure::new(
        Exit::Unreachable,
        "the daemon went away before it was done: `token-broker key status` shows how far it is",
    )
}

/// The last message of a stream; `tell` hears of each.
async fn last_of<T>(mut answers: Streaming<T>, tell: impl Fn(&T)) -> Result<Option<T>, Failure> {
    let mut last = None;
    while let Some(answer) = answers.message().await.map_err(refused)? {
        tell(&answer);
        last = Some(answer);
    }
    Ok(last)
}

fn share(done: u64, total: u64) -> String {
    format!("{done} of {} rows", total.max(done))
}

async fn rotate(admin: &mut Admin, output: &mut Output) -> Outcome {
    let (tell, told) = watch::channel(String::new());
    let (explain, reasons) = watch::channel(String::new());
    let work = async {
        let request = admin.rotate_key(v1::RotateKeyRequest {});
        let answers = request.await.map_err(refused)?.into_inner();
        let last = last_of(answers, |answer| {
            tell.send_replace(share(answer.rows_done, answer.rows_total));
            explain.send_if_modified(|reason| {
                let is_new = *reason != answer.problem;
                reason.clone_from(&answer.problem);
                is_new
            });
        });
        last.await?.filter(|last| last.ended).ok_or_else(cut_off)
    };
    let done = progress::counting(output, "moving rows to the new key", told, reasons, work).await?;
    if output.is_json() {
        output.json(&serde_json::json!({
            "active_key": done.active_key,
            "rows": done.rows_done,
            "rows_moved": done.rows_moved,
            "rows_unusable": done.rows_unusable,
            "unusable": done.unusable,
        }))?;
        return Ok(Exit::Ok);
    }
    let moved = count(done.rows_moved, "row", "rows");
    output.toned(
        Tone::Good,
        &format!("Rotated: {moved} moved to key {}.", done.active_key),
    )?;
    if done.rows_unusable > 0 {
        let left = count(done.rows_unusable, "record", "records");
        output.note(&format!("{left} cannot be used, and nothing was done to them:"));
        unusable(&done.unusable, output);
    }
    Ok(Exit::Ok)
}

fn unusable(records: &[String], output: &mut Output) {
    for record in records {
        output.note(&format!("  {record}"));
    }
}

async fn reseal(args: ResealArgs, admin: &mut Admin, output: &mut Output) -> Outcome {
    let request = v1::ResealKeysRequest {
        seal: args.to.map(whole_path).unwrap_or_default(),
    };
    let work = admin.reseal_keys(request);
    let done = progress::during(output, "asking the seal", work).await;
    let done = done.map_err(refused)?.into_inner();
    if output.is_json() {
        output.json(&serde_json::json!({
            "seal": done.seal,
            "seal_key": done.seal_key,
            "keys": done.keys,
            "advice": Some(&done.advice).filter(|advice| !advice.is_empty()),
        }))?;
        return Ok(Exit::Ok);
    }
    let keys = count(done.keys.len() as u64, "key is", "keys are");
    output.toned(
        Tone::Good,
        &format!(
            "Sealed anew: {keys} wrapped by {} (key {}).",
            done.seal, done.seal_key
        ),
    )?;
    if !done.advice.is_empty() {
        output.toned(Tone::Warn, &done.advice)?;
    }
    Ok(Exit::Ok)
}

/// A seal whose file is named from where the command runs, as the daemon has to know it.
fn whole_path(seal: String) -> String {
    let path = seal
        .strip_prefix("file:")
        .map(|path| std::path::absolute(path.trim()));
    match path {
        Some(Ok(path)) => format!("file:{}", path.display()),
        _ => seal,
    }
}

async fn status(admin: &mut Admin, output: &mut Output) -> Outcome {
    let answer = admin.get_keys(v1::GetKeysRequest {}).await.map_err(refused)?;
    let keyring = Keyring::from(answer.into_inner());
    if output.is_json() {
        output.json(&keyring)?;
        return Ok(Exit::Ok);
    }
    let rows = keyring.keys.iter().map(row).collect();
    output.table(&["KEY", "STATE", "SINCE", "ROWS", "WRAPPED BY", "ITS KEY"], rows)?;
    output.line("")?;
    match &keyring.seal_problem {
        None => output.line(&format!("seal     {} (key {})", keyring.seal, keyring.seal_key))?,
        Some(problem) => output.toned(Tone::Warn, &format!("seal     {problem}"))?,
    }
    output.line(&format!("retired keys are kept for {} days", keyring.keep_days))?;
    Ok(Exit::Ok)
}

fn row(key: &KeyringKey) -> Vec<Text> {
    let tone = match key.state {
        "active" => Tone::Good,
        "pending" | "retiring" => Tone::Warn,
        _ => Tone::Plain,
    };
    vec![
        key.id.as_str().into(),
        Text::toned(tone, key.state.to_owned()),
        key.changed_at.map(clock::rfc3339).unwrap_or_default().into(),
        key.rows.to_string().into(),
        key.seal.as_str().into(),
        key.seal_key.as_str().into(),
    ]
}

async fn verify(admin: &mut Admin, output: &mut Output) -> Outcome {
    let (tell, told) = watch::channel(String::new());
    let (_nothing, no_reasons) = watch::channel(String::new());
    let work = async {
        let request = admin.verify_keys(v1::VerifyKeysRequest {});
        let answers = request.await.map_err(refused)?.into_inner();
        let last = last_of(answers, |answer| {
            tell.send_replace(share(answer.rows_done, answer.rows_total));
        });
        last.await?.filter(|last| last.ended).ok_or_else(cut_off)
    };
    let done = progress::counting(output, "opening rows", told, no_reasons, work).await?;
    let whole = done.rows_unusable == 0;
    let rows = count(done.rows_done, "row", "rows");
    if output.is_json() {
        output.json(&serde_json::json!({
            "whole": whole,
            "rows": done.rows_done,
            "rows_unusable": done.rows_unusable,
            "unusable": done.unusable,
        }))?;
    } else if whole {
        output.toned(Tone::Good, &format!("Every row opens: {rows}."))?;
    } else {
        let message = format!("{} of {rows} cannot be used:", done.rows_unusable);
        output.toned(Tone::Bad, &message)?;
        unusable(&done.unusable, output);
    }
    Ok(if whole { Exit::Ok } else { Exit::Failed })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{output::Format, testing::FakeAdmin},
        *,
    };

    fn key(id: &str, state: v1::KeyState, rows: u64) -> v1::KeyringKey {
        let time = prost_types::Timestamp {
            seconds: 1_705_312_800,
            nanos: 0,
        };
        v1::KeyringKey {
            id: id.to_owned(),
            state: state.into(),
            created_at: Some(time),
            changed_at: Some(time),
            rows,
            seal: "kms:unix:///run/kms.sock".to_owned(),
            seal_key: "k7".to_owned(),
        }
    }

    async fn run_with(
        admin: FakeAdmin,
        command: KeyCommand,
        format: Format,
    ) -> (Outcome, String, String, Vec<String>) {
        let server = admin.serve().await;
        let (mut output, out, err) = Output::captured(format);
        let outcome = run(command, &server.global(), &mut output).await;
        (outcome, out.text(), err.text(), server.calls())
    }

    #[tokio::test]
    async fn the_keyring_is_a_table_or_json() {
        let admin = || FakeAdmin {
            keys: v1::GetKeysResponse {
                keys: vec![
                    key("1111222233334444", v1::KeyState::Retired, 0),
                    key("5555666677778888", v1::KeyState::Active, 42),
                ],
                seal: "kms:unix:///run/kms.sock".to_owned(),
                seal_problem: "it does not answer".to_owned(),
                keep_days: 90,
                ..Default::default()
            },
            ..FakeAdmin::default()
        };
        let status = || KeyCommand::Status(StatusArgs {});
        let (outcome, out, ..) = run_with(admin(), status(), Format::Text).await;
        assert_eq!(outcome, Ok(Exit::Ok));
        assert_eq!(
            out,
            "KEY               STATE    SINCE                 ROWS  WRAPPED BY                ITS KEY\n\
             1111222233334444  retired  2024-01-15T10:00:00Z  0     kms:unix:///run/kms.sock  k7\n\
             5555666677778888  active   2024-01-15T10:00:00Z  42    kms:unix:///run/kms.sock  k7\n\n\
             seal     it does not answer\n\
             retired keys are kept for 90 days\n"
        );
        let (_, out, ..) = run_with(admin(), status(), Format::Json).await;
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value["keys"][1]["state"], "active");
        assert_eq!(value["seal_problem"], "it does not answer");
    }

    fn far(rows_done: u64, ended: bool) -> v1::RotateKeyResponse {
        v1::RotateKeyResponse {
            active_key: "5555666677778888".to_owned(),
            rows_done,
            rows_total: 100,
            rows_moved: rows_done,
            ended,
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn a_rotation_is_over_when_the_daemon_says_so() {
        let rotate = || KeyCommand::Rotate(RotateArgs {});
        let admin = FakeAdmin {
            rotation: vec![far(50, false), far(100, true)],
            ..FakeAdmin::default()
        };
        let (outcome, out, ..) = run_with(admin, rotate(), Format::Text).await;
        assert_eq!(outcome, Ok(Exit::Ok));
        assert_eq!(out, "Rotated: 100 rows moved to key 5555666677778888.\n");
        let admin = FakeAdmin {
            rotation: vec![far(50, false)],
            ..FakeAdmin::default()
        };
        let (outcome, ..) = run_with(admin, rotate(), Format::Text).await;
        assert_eq!(outcome.unwrap_err().exit, Exit::Unreachable, "it was cut off");
    }

    #[tokio::test]
    async fn what_could_not_be_used_is_named() {
        let left = v1::RotateKeyResponse {
            rows_unusable: 1,
            unusable: vec!["account int_1: it was altered".to_owned()],
            ..far(100, true)
        };
        let admin = FakeAdmin {
            rotation: vec![left],
            ..FakeAdmin::default()
        };
        let (_, _, err, _) = run_with(admin, KeyCommand::Rotate(RotateArgs {}), Format::Text).await;
        assert_eq!(
            err,
            "1 record cannot be used, and nothing was done to them:\n  account int_1: it was altered\n"
        );
        let admin = FakeAdmin {
            verification: vec![v1::VerifyKeysResponse {
                rows_done: 9,
                rows_total: 9,
                rows_unusable: 1,
                unusable: vec!["account int_1: it was altered".to_owned()],
                ended: true,
            }],
            ..FakeAdmin::default()
        };
        let (outcome, out, ..) = run_with(admin, KeyCommand::Verify(VerifyArgs {}), Format::Json).await;
        assert_eq!(outcome, Ok(Exit::Failed));
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (&value["whole"], &value["rows_unusable"]),
            (&false.into(), &1.into())
        );
    }

    #[tokio::test]
    async fn another_seal_is_asked_for_by_its_name() {
        let args = ResealArgs {
            to: Some("file:/k2".to_owned()),
        };
        let (outcome, out, _, calls) =
            run_with(FakeAdmin::default(), KeyCommand::Reseal(args), Format::Text).await;
        assert_eq!(outcome, Ok(Exit::Ok));
        assert_eq!(
            out,
            "Sealed anew: 1 key is wrapped by file:/k2 (key 00112233aabbccdd).\nset key.source\n"
        );
        assert_eq!(calls, ["reseal file:/k2"]);
    }
}
