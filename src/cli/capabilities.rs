//! `capabilities`: what agents can ask for.

use clap::Args;
use serde::Serialize;

use super::{
    connections,
    options::Global,
    output::Output,
    settings,
    style::{Text, or_dash},
};
use crate::{
    capability,
    client::{
        admin::refused,
        exit::{Exit, Failure, Outcome},
    },
    proto::{self, v1},
};

/// Show what agents can ask for
///
/// Asks the daemon; while none runs, shows the built-in catalogue with the configuration's additions.
#[derive(Debug, Args)]
pub(super) struct CapabilitiesArgs {
    /// Also show the heading, an example and the provider's scopes
    #[arg(long)]
    long: bool,
}

#[derive(Serialize)]
struct Capability {
    key: String,
    title: String,
    #[serde(rename = "use")]
    usage: String,
    group: String,
    /// Google's class; empty where it is unknown, or no person is asked.
    #[serde(skip_serializing_if = "String::is_empty")]
    verification: String,
    scopes: Vec<String>,
    satisfied_by: Vec<String>,
}

impl From<v1::Capability> for Capability {
    fn from(from: v1::Capability) -> Self {
        let verification = match from.verification() {
            v1::Verification::Unspecified => String::new(),
            class => proto::code(class.as_str_name(), "VERIFICATION_"),
        };
        Self {
            verification,
            key: from.key,
            title: from.title,
            usage: from.r#use,
            group: from.group,
            scopes: from.scopes,
            satisfied_by: from.satisfied_by,
        }
    }
}

impl From<&capability::Capability> for Capability {
    fn from(from: &capability::Capability) -> Self {
        Self {
            key: from.key.to_string(),
            title: from.title.clone(),
            usage: from.usage.clone(),
            group: from.group.clone(),
            verification: from
                .verification
                .map_or_else(String::new, |class| class.as_str().to_owned()),
            scopes: from.scopes.iter().map(ToString::to_string).collect(),
            satisfied_by: from.satisfied_by.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Runs `capabilities`.
pub(super) async fn run(args: &CapabilitiesArgs, global: &Global, output: &mut Output) -> Outcome {
    let capabilities: Vec<Capability> = match connections::admin(global, output).await {
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
        Err(failure) if failure.exit == Exit::Unreachable && !global.names_daemon() => {
            output.note("(No daemon answers: this is the catalogue as the next one would have it.)");
            settings::catalog(global)?.iter().map(Into::into).collect()
        }
        Err(failure) => return Err(failure),
    };
    show(&capabilities, args.long, output)?;
    Ok(Exit::Ok)
}

fn show(capabilities: &[Capability], long: bool, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&serde_json::json!({ "capabilities": capabilities }));
    }
    let mut head = vec!["KEY", "ALLOWS", "VERIFICATION"];
    if long {
        head.extend(["GROUP", "FOR EXAMPLE", "SCOPES"]);
    }
    let row = |capability: &Capability| {
        let mut row: Vec<Text> = vec![
            capability.key.as_str().into(),
            capability.title.as_str().into(),
            or_dash(&capability.verification).into(),
        ];
        if long {
            row.extend([
                capability.group.as_str().into(),
                or_dash(&capability.usage).into(),
                capability.scopes.join(" ").into(),
            ]);
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
        run(&CapabilitiesArgs { long: true }, &server.global(), &mut output)
            .await
            .unwrap();
        assert_eq!(
            out.text(),
            "KEY                ALLOWS       VERIFICATION  GROUP  FOR EXAMPLE  SCOPES\n\
             google.gmail.send  Send emails  sensitive     Gmail  Replies      \
             https://www.googleapis.com/auth/gmail.send\n"
        );
        let (mut output, out, _) = Output::captured(Format::Json);
        run(&CapabilitiesArgs { long: false }, &server.global(), &mut output)
            .await
            .unwrap();
        let value: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
        assert_eq!(value["capabilities"][0]["use"], "Replies");
        assert_eq!(value["capabilities"][0]["group"], "Gmail");
        assert_eq!(value["capabilities"][0]["verification"], "sensitive");
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
        run(&CapabilitiesArgs { long: false }, &global, &mut output)
            .await
            .unwrap();
        let text = out.text();
        assert!(text.contains("google.sheets.readonly"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        let row = |key: &str| text.lines().find(|line| line.split(' ').next() == Some(key));
        assert!(
            row("google.drive").is_some_and(|row| row.ends_with(" restricted")),
            "{text}"
        );
        assert!(row("google.sa").is_some_and(|row| row.ends_with(" -")), "{text}");
        assert!(err.text().contains("No daemon answers"));
    }
}
