//! `service-account`: a Google service account's key is handed to the broker.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{connections, json::Integration, options::Global, output::Output, progress, secret_input};
use crate::{
    client::{
        admin::{Admin, refused, required},
        exit::{Exit, Outcome},
    },
    id::OwnerId,
    proto::v1,
    text::ShowPath,
};

/// What can be done with service accounts beyond what can be done with every integration.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(super) enum ServiceAccountCommand {
    /// Add a service account, or replace its key
    Add(AddArgs),
}

const EXAMPLES: &str = "\
Examples:
  token-broker service-account add --owner alice --key robot.json
  token-broker service-account add --owner alice --key robot.json --subject alice@corp.example
  gcloud iam service-accounts keys create /dev/stdout --iam-account robot@project.iam.gserviceaccount.com \\
    | token-broker service-account add --owner alice --key -

The key is tried at Google first; one that does not work is told, and nothing is stored. Agents of the owner that \
declare `google.sa` get tokens of it, for whatever was shared with the address that this command prints. A new key of \
an account that is there takes the place of the old one without a gap: then delete the old one at Google. List, check \
and disconnect it with `token-broker integrations`.";

// The key, and whose it is to be.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AddArgs {
    /// The key file, as the Google Cloud console makes it; `-` for standard input
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Whose agents may use it
    #[arg(long)]
    owner: OwnerId,
    /// Act for this person (domain-wide delegation)
    #[arg(long, value_name = "ADDRESS")]
    subject: Option<String>,
}

#[derive(Serialize)]
struct Added {
    #[serde(flatten)]
    integration: Integration,
    key_id: String,
    replaced: bool,
}

/// Runs `service-account`.
pub(super) async fn run(command: ServiceAccountCommand, global: &Global, output: &mut Output) -> Outcome {
    let ServiceAccountCommand::Add(args) = command;
    let key_file = secret_input::read(&args.key)?;
    let mut admin = connections::admin(global, output).await?;
    let request = v1::AddServiceAccountRequest {
        owner: args.owner.to_string(),
        key_file: key_file.to_string(),
        subject: args.subject.clone().unwrap_or_default(),
    };
    add(request, &args, &mut admin, output).await
}

async fn add(
    request: v1::AddServiceAccountRequest,
    args: &AddArgs,
    admin: &mut Admin,
    output: &mut Output,
) -> Outcome {
    let answer = progress::during(output, "trying the key", admin.add_service_account(request)).await;
    let answer = answer.map_err(refused)?.into_inner();
    let added = Added {
        integration: required(answer.integration)?.into(),
        key_id: answer.key_id,
        replaced: answer.replaced,
    };
    if output.is_json() {
        output.json(&added)?;
        return Ok(Exit::Ok);
    }
    let Added {
        integration,
        key_id,
        replaced,
    } = added;
    let did = if replaced { "Replaced the key of" } else { "Added" };
    output.line(&format!(
        "{did} {} for {} ({})",
        integration.account, integration.owner, integration.id
    ))?;
    output.line(&format!("  key: {key_id}"))?;
    if integration.acts_for.is_empty() {
        output.line(&format!("  share files with: {}", integration.account))?;
    } else {
        output.line(&format!("  acts for: {}", integration.acts_for))?;
    }
    output.line(&format!(
        "  capabilities: {}",
        integration.capabilities.join(", ")
    ))?;
    if args.key.as_os_str() != "-" {
        output.note(&format!(
            "The broker keeps the key, sealed: {} is not needed any more.",
            args.key.shown()
        ));
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{
        super::{
            output::Format,
            testing::{FakeAdmin, parse},
        },
        *,
    };

    async fn add(admin: FakeAdmin, format: Format, extra: &[&str]) -> (Outcome, String, Vec<String>) {
        let server = admin.serve().await;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"{\"canary\":1}").unwrap();
        let path = file.path().to_str().unwrap();
        let mut line = vec!["--owner", "alice", "--key", path];
        line.extend_from_slice(extra);
        let (mut output, out, _) = Output::captured(format);
        let command = ServiceAccountCommand::Add(parse::<AddArgs>(&line));
        let outcome = run(command, &server.global(), &mut output).await;
        (outcome, out.text(), server.calls())
    }

    fn robot() -> FakeAdmin {
        FakeAdmin {
            integration: v1::Integration {
                kind: "google-sa".to_owned(),
                account: "robot@project.iam.gserviceaccount.com".to_owned(),
                capabilities: vec!["google.sa".to_owned()],
                ..super::super::testing::alice()
            },
            ..FakeAdmin::default()
        }
    }

    #[tokio::test]
    async fn the_address_to_share_with_is_told_and_the_key_goes_over_the_socket() {
        let (outcome, out, calls) = add(robot(), Format::Text, &[]).await;
        assert_eq!(outcome, Ok(Exit::Ok));
        assert_eq!(
            out,
            "Added robot@project.iam.gserviceaccount.com for alice (int_00000000000000000001)\n  key: key-1\n  \
             share files with: robot@project.iam.gserviceaccount.com\n  capabilities: google.sa\n"
        );
        assert_eq!(calls, ["add service account alice {\"canary\":1}"]);
    }

    #[tokio::test]
    async fn a_delegated_one_says_for_whom_it_acts() {
        let mut admin = robot();
        admin.integration.acts_for = "alice@corp.example".to_owned();
        let (_, out, calls) = add(admin, Format::Text, &["--subject", "alice@corp.example"]).await;
        assert!(
            out.contains("  acts for: alice@corp.example\n") && !out.contains("share"),
            "{out}"
        );
        assert_eq!(
            calls,
            ["add service account alice {\"canary\":1} for alice@corp.example"]
        );
    }

    #[tokio::test]
    async fn json_is_one_object() {
        let (_, out, _) = add(robot(), Format::Json, &[]).await;
        let object: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (&object["kind"], &object["key_id"]),
            (&"google-sa".into(), &"key-1".into())
        );
        assert_eq!(object["replaced"], false);
    }
}
