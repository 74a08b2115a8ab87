//! Manifests in files: read for `agents add`, checked by `agents validate`.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;

use super::{options::Global, output::Output, settings, style::Tone};
use crate::{
    capability::Catalog,
    client::exit::{Exit, Failure, Outcome},
    file,
    manifest::{MAX_BYTES, Manifest, ManifestError, listing},
    text::{self, ShowPath, count, one_line},
};

const EXAMPLES: &str = "\
Examples:
  token-broker agents validate invoice-bot.yaml
  token-broker agents validate /etc/token-broker/agents.d
  token-broker --output json agents validate deploy/*.yaml

Exits with 1 when a manifest is wrong. Capabilities are those that are built in and those that the \
configuration adds, if there is one.";

// Which manifests to check.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ValidateArgs {
    /// Manifests, or folders of them (`-` for standard input)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// What a manifest turned out to be.
#[derive(Serialize)]
struct Verdict {
    file: String,
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ManifestError>,
}

/// Reads one manifest; what its capabilities are worth is for the daemon to say.
pub(super) fn read(file: &Path) -> Result<Manifest, Failure> {
    let name = shown(file);
    let text = text_of(file).map_err(|error| Failure::new(Exit::Failed, unreadable(&name, &error)))?;
    Manifest::from_yaml(&text, &name).map_err(|error| Failure::misconfigured(error.to_string()))
}

/// Runs `agents validate`.
pub(super) fn validate(args: &ValidateArgs, global: &Global, output: &mut Output) -> Outcome {
    let catalog = settings::catalog(global)?;
    let mut seen = HashMap::new();
    let mut verdicts = Vec::new();
    let (files, ignored) = expand(&args.files)?;
    for file in files {
        verdicts.push(judge(&file, &catalog, &mut seen));
    }
    let wrong = verdicts.iter().filter(|verdict| !verdict.valid).count();
    if output.is_json() {
        output
            .json(&serde_json::json!({ "valid": wrong == 0, "manifests": verdicts, "ignored": ignored }))?;
    } else {
        for message in &ignored {
            output.toned(Tone::Warn, &one_line(message, &[]))?;
        }
        for verdict in &verdicts {
            show(verdict, output)?;
        }
    }
    Ok(if wrong == 0 { Exit::Ok } else { Exit::Failed })
}

fn judge(file: &Path, catalog: &Catalog, seen: &mut HashMap<String, String>) -> Verdict {
    let name = shown(file);
    let checked = text_of(file)
        .map_err(|error| ManifestError {
            file: Some(name.clone()),
            message: format!("it cannot be read: {error}"),
            ..ManifestError::default()
        })
        .and_then(|text| Manifest::from_yaml_with(catalog, &text, &name));
    let checked = checked.and_then(
        |manifest| match seen.insert(manifest.agent.to_string(), name.clone()) {
            None => Ok(manifest),
            Some(first) => Err(ManifestError {
                file: Some(name.clone()),
                field: Some("agent".to_owned()),
                message: format!("`{}` is declared in {first} as well", manifest.agent),
                ..ManifestError::default()
            }),
        },
    );
    let (manifest, error) = match checked {
        Ok(manifest) => (Some(manifest), None),
        Err(error) => (None, Some(error)),
    };
    Verdict {
        file: name,
        valid: manifest.is_some(),
        agent: manifest.as_ref().map(|manifest| manifest.agent.to_string()),
        owner: manifest.as_ref().map(|manifest| manifest.owner.to_string()),
        capabilities: manifest.as_ref().map(|manifest| manifest.integrations.len()),
        error,
    }
}

fn show(verdict: &Verdict, output: &mut Output) -> Result<(), Failure> {
    match &verdict.error {
        Some(error) => output.toned(Tone::Bad, &error.to_string()),
        None => output.line(&format!(
            "{}: valid (agent {}, owner {}, {})",
            verdict.file,
            verdict.agent.as_deref().unwrap_or_default(),
            verdict.owner.as_deref().unwrap_or_default(),
            count(
                verdict.capabilities.unwrap_or_default() as u64,
                "capability",
                "capabilities"
            ),
        )),
    }
}

/// Folders stand for the manifests in them, as the daemon would read them; also what it would not read, in sentences.
fn expand(files: &[PathBuf]) -> Result<(Vec<PathBuf>, Vec<String>), Failure> {
    let (mut expanded, mut ignored) = (Vec::new(), Vec::new());
    for file in files {
        if file.is_dir() {
            let failed = |error: io::Error| Failure::new(Exit::Failed, unreadable(&shown(file), &error));
            let listing = listing::survey(file).map_err(failed)?;
            expanded.extend(listing.names.iter().map(|name| file.join(name)));
            ignored.extend(listing.ignored.into_iter().map(|(_, message)| message));
        } else {
            expanded.push(file.clone());
        }
    }
    Ok((expanded, ignored))
}

fn text_of(file: &Path) -> io::Result<String> {
    let bytes = if file.as_os_str() == "-" {
        file::read_from(io::stdin(), MAX_BYTES)?
    } else {
        file::read(file, MAX_BYTES)?
    };
    text::of_file(&bytes).map(str::to_owned).map_err(io::Error::other)
}

fn shown(file: &Path) -> String {
    if file.as_os_str() == "-" {
        "standard input".to_owned()
    } else {
        file.shown().to_string()
    }
}

fn unreadable(name: &str, error: &io::Error) -> String {
    format!("{name} cannot be read: {error}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::output::Format, *};

    const GOOD: &str = "agent: bot\nowner: alice\nintegrations:\n  - key: google.gmail.send\n";

    fn validate_files(files: &[(&str, &str)], format: Format) -> (Outcome, String) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let config = dir.path().join("config.toml");
        fs::write(&config, "").unwrap();
        let global = Global {
            config: Some(config),
            ..Global::default()
        };
        let (mut output, out, _) = Output::captured(format);
        let outcome = validate(
            &ValidateArgs {
                files: vec![dir.path().to_owned()],
            },
            &global,
            &mut output,
        );
        (
            outcome,
            out.text().replace(&format!("{}/", dir.path().display()), ""),
        )
    }

    #[test]
    fn good_manifests_are_named_and_wrong_ones_pointed_at() {
        let (outcome, text) = validate_files(&[("a.yaml", GOOD), ("notes.txt", "x")], Format::Text);
        assert_eq!(outcome, Ok(Exit::Ok));
        assert_eq!(text, "a.yaml: valid (agent bot, owner alice, 1 capability)\n");

        let bad = GOOD.replace("gmail.send", "gmal.send").replace("bot", "bot2");
        let (outcome, text) = validate_files(&[("a.yaml", GOOD), ("b.yml", &bad)], Format::Text);
        assert_eq!(outcome, Ok(Exit::Failed));
        assert!(text.contains("b.yml:4:"), "{text}");
        assert!(text.contains("did you mean `google.gmail.send`"), "{text}");
    }

    #[test]
    fn what_the_daemon_would_not_read_is_named() {
        let files = [("a.yaml", GOOD), ("b.YAML", GOOD)];
        let (outcome, text) = validate_files(&files, Format::Text);
        assert_eq!(outcome, Ok(Exit::Ok));
        assert!(text.starts_with("b.YAML: it is not read: "), "{text}");
        assert!(text.contains("\na.yaml: valid"), "{text}");
        let (_, text) = validate_files(&files, Format::Json);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["ignored"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn one_name_in_two_files_is_an_error() {
        let (outcome, text) = validate_files(&[("a.yaml", GOOD), ("b.yaml", GOOD)], Format::Json);
        assert_eq!(outcome, Ok(Exit::Failed));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["valid"], false);
        assert_eq!(value["manifests"][0]["agent"], "bot");
        assert_eq!(value["manifests"][1]["error"]["field"], "agent");
    }
}
