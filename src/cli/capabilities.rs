//! `capabilities`: what agents can ask for.

use clap::Args;
use serde::Serialize;

use super::{
    admin_client::{self, refused},
    args::Global,
    exit::{Exit, Failure, Outcome},
    output::Output,
    settings,
    style::Text,
};
use crate::{catalog, proto::v1};

/// Show what agents can ask for
///
/// Asks the daemon; while none runs, shows the built-in catalogue with the configuration's additions.
#[derive(Debug, Args)]
pub(super) struct CapabilitiesArgs {
    /// Also show the provider's scopes
    #[arg(long)]
    scopes: bool,
}

#[derive(Serialize)]
struct Capability {
    key: String,
    title: String,
    #[serde(rename = "use")]
    usage: String,
    scopes: Vec<String>,
    satisfied_by: Vec<String>,
}

impl From<v1::Capability> for Capability {
    fn from(from: v1::Capability) -> Self {
        Self {
            key: from.key,
            title: from.title,
            usage: from.r#use,
            scopes: from.scopes,
            satisfied_by: from.satisfied_by,
        }
    }
}

impl From<&catalog::Capability> for Capability {
    fn from(from: &catalog::Capability) -> Self {
        Self {
            key: from.key.to_string(),
            title: from.title.clone(),
            usage: from.usage.clone(),
            scopes: from.scopes.iter().map(ToString::to_string).collect(),
            satisfied_by: from.satisfied_by.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Runs `capabilities`.
pub(super) async fn run(args: &CapabilitiesArgs, global: &Global, output: &mut Output) -> Outcome {
    let capabilities: Vec<Capability> = match admin_client::connect(global, output).await {
        Ok(mut admin) => {
            let answer = admin
                .list_capabilities(v1::ListCapabilitiesRequest {})
                .await
                .map_err(refused)?;
            answer
                .into_inner()
                .capabilities
                .into_iter()
                .map(Into::into)
                .collect()
        }
        Err(failure) if failure.exit == Exit::Unreachable && global.admin_socket.is_none() => {
            output.note("(No daemon answers: this is the catalogue as the next one would have it.)");
            settings::catalog(global)?.iter().map(Into::into).collect()
        }
        Err(failure) => return Err(failure),
    };
    show(&capabilities, args.scopes, output)?;
    Ok(Exit::Ok)
}

fn show(capabilities: &[Capability], scopes: bool, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&serde_json::json!({ "capabilities": capabilities }));
    }
    let mut head = vec!["KEY", "ALLOWS", "FOR EXAMPLE"];
    if scopes {
        head.push("SCOPES");
    }
    let row = |capability: &Capability| {
        let mut row: Vec<Text> = vec![
            capability.key.as_str().into(),
            capability.title.as_str().into(),
            capability.usage.as_str().into(),
        ];
        if scopes {
            row.push(capability.scopes.join(" ").into());
        }
        row
    };
    output.table(&head, capabilities.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{output::Format, testing::FakeAdmin},
        *,
    };

    #[tokio::test]
    async fn the_daemons_catalogue_is_a_table_or_json() {
        let server = FakeAdmin::default().serve().await;
        let (mut output, out, _) = Output::captured(Format::Text);
        run(&CapabilitiesArgs { scopes: true }, &server.global(), &mut output)
            .await
            .unwrap();
        assert_eq!(
            out.text(),
            "KEY                ALLOWS       FOR EXAMPLE  SCOPES\n\
             google.gmail.send  Send emails  Replies      https://www.googleapis.com/auth/gmail.send\n"
        );
        let (mut output, out, _) = Output::captured(Format::Json);
        run(&CapabilitiesArgs { scopes: false }, &server.global(), &mut output)
            .await
            .unwrap();
        let value: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
        assert_eq!(value["capabilities"][0]["use"], "Replies");
    }

    #[tokio::test]
    async fn without_a_daemon_the_built_in_catalogue_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        std::fs::write(&config, format!("runtime_dir = {:?}\n", dir.path())).unwrap();
        let global = Global {
            config: Some(config),
            ..Global::default()
        };
        let (mut output, out, err) = Output::captured(Format::Text);
        run(&CapabilitiesArgs { scopes: false }, &global, &mut output)
            .await
            .unwrap();
        assert!(out.text().contains("google.sheets.readonly"), "{}", out.text());
        assert!(err.text().contains("No daemon answers"));
    }
}
