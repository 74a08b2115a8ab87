//! `init`: writes a configuration and a master key, and never over an existing one.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{options::Global, output::Output};
use crate::{
    client::exit::{Exit, Failure, Outcome},
    config::{self, Config, KeySource},
    entropy::{Entropy, SystemEntropy},
    text::ShowPath,
    vault::key,
};

const EXAMPLES: &str = "\
Examples:
  token-broker init
  token-broker init --config-dir ~/.config/token-broker --set google.client_id=….apps.googleusercontent.com

Writes config.toml, master.key (readable by its owner alone) and the folder agents.d. Where one of the files \
exists already, nothing is written. Keep a copy of master.key: without it the stored grants cannot be opened. With kms: or \
transit: as key.source there is no such file.";

/// Write a configuration and a master key
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InitArgs {
    /// Where to write [default: the folder of --config, or /etc/token-broker]
    #[arg(long, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// Set a key of the configuration (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// What is written where.
struct Plan {
    config: PathBuf,
    /// None where the keyring is to be wrapped by what keeps its key to itself.
    key: Option<PathBuf>,
    agents: PathBuf,
}

/// Runs `init`.
pub(super) fn run(args: &InitArgs, global: &Global, output: &mut Output) -> Outcome {
    let plan = Plan::new(args, global)?;
    plan.refuse_existing()?;
    let text = Plan::text(args)?;
    let config = plan.write(&text, &SystemEntropy)?;
    report(&plan, &config, output)?;
    Ok(Exit::Ok)
}

impl Plan {
    fn new(args: &InitArgs, global: &Global) -> Result<Self, Failure> {
        let file = match (&args.config_dir, &global.config) {
            (Some(dir), _) => dir.join("config.toml"),
            (None, Some(file)) => file.clone(),
            (None, None) => config::DEFAULT_FILE.into(),
        };
        let config = std::path::absolute(&file)
            .map_err(|error| Failure::usage(format!("{} is no place for a file: {error}", file.shown())))?;
        Ok(Self {
            key: (!names_foreign_seal(args)).then(|| config.with_file_name("master.key")),
            agents: config.with_file_name("agents.d"),
            config,
        })
    }

    fn refuse_existing(&self) -> Result<(), Failure> {
        for path in [Some(&self.config), self.key.as_ref()].into_iter().flatten() {
            // A dangling link counts, too.
            if path.symlink_metadata().is_ok() {
                return Err(exists(path));
            }
        }
        Ok(())
    }

    /// The configuration's text. A secret is refused here, and not by the arguments' parser, whose messages
    /// repeat what they refuse. A user other than root cannot use the system's folders, and gets folders of their own.
    fn text(args: &InitArgs) -> Result<String, Failure> {
        let mut values: Vec<(&str, &str)> = args
            .set
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        if let Some((key, _)) = values.iter().find(|(key, _)| config::is_secret(key)) {
            return Err(Failure::usage(format!(
                "a secret does not belong on a command line, where others can see it: set {key}_file instead, and \
                 write the secret into that file"
            )));
        }
        if !rustix::process::geteuid().is_root() {
            for (key, folder) in [("state_dir", "state"), ("runtime_dir", "run")] {
                if values.iter().all(|(given, _)| *given != key) {
                    values.push((key, folder));
                }
            }
        }
        config::template(&values).map_err(|error| Failure::usage(format!("--set {error}")))
    }

    /// All of it or nothing.
    fn write(&self, text: &str, entropy: &dyn Entropy) -> Result<Config, Failure> {
        let dir = self.config.parent().unwrap_or(Path::new("/"));
        let made = !dir.exists();
        create_dir(dir)?;
        let written = self.write_files(text, entropy);
        if written.is_err() && made {
            // Only if nothing is in it.
            let _ = fs::remove_dir(dir);
        }
        let config = written?;
        create_dir(&self.agents)?;
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|error| cannot_write(dir, &error))?;
        Ok(config)
    }

    fn write_files(&self, text: &str, entropy: &dyn Entropy) -> Result<Config, Failure> {
        if let Some(path) = &self.key {
            let encoded = key::encode(&key::generate(entropy));
            create(path, 0o600, &[encoded.as_bytes(), b"\n"])?;
        }
        let written = create(&self.config, 0o644, &[text.as_bytes()]).and_then(|()| {
            Config::load(Some(&self.config), std::iter::empty()).map_err(|error| {
                undo(&self.config);
                Failure::usage(format!("nothing was written: {error}"))
            })
        });
        if written.is_err() {
            // Made a moment ago, and nothing was sealed with it yet.
            self.key.iter().for_each(|path| undo(path));
        }
        written
    }
}

/// Whether `--set` says that a KMS, or Vault, wraps the keyring.
fn names_foreign_seal(args: &InitArgs) -> bool {
    let mut sources = args.set.iter().filter(|(key, _)| key == "key.source");
    sources.any(|(_, source)| source.parse().is_ok_and(|source: KeySource| !source.is_read()))
}

fn undo(path: &Path) {
    // What cannot be removed is named by the next `init`.
    let _ = fs::remove_file(path);
}

fn create_dir(path: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(|error| cannot_write(path, &error))
}

/// Writes a file that must not exist yet, to the disk.
fn create(path: &Path, mode: u32, parts: &[&[u8]]) -> Result<(), Failure> {
    let open = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    let mut file = open.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => cannot_write(path, &error),
    })?;
    let written = parts
        .iter()
        .try_for_each(|part| file.write_all(part))
        .and_then(|()| file.sync_all());
    written.map_err(|error| {
        undo(path);
        cannot_write(path, &error)
    })
}

fn exists(path: &Path) -> Failure {
    Failure::new(
        Exit::Failed,
        format!(
            "{} exists already and was left as it is; nothing was written. Use it as it is, or choose another \
             --config-dir",
            path.shown()
        ),
    )
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            ": run the command as root, or choose a folder of your own with --config-dir"
        }
        _ => "",
    };
    Failure::new(
        Exit::Failed,
        format!("{} cannot be written: {error}{advice}", path.shown()),
    )
}

fn report(plan: &Plan, settings: &Config, output: &mut Output) -> Result<(), Failure> {
    let Plan { config, key, agents } = plan;
    if output.is_json() {
        return output.json(&serde_json::json!({ "config": config, "key": key, "agents_dir": agents }));
    }
    let mut fields = vec![("configuration", config.display().to_string().into())];
    fields.extend(
        key.iter()
            .map(|key| ("master key", key.display().to_string().into())),
    );
    fields.push(("manifests", agents.display().to_string().into()));
    output.fields(fields)?;
    output.line("")?;
    output.line("Next:")?;
    for (step, text) in next_steps(plan, settings).iter().enumerate() {
        output.line(&format!("  {}. {text}", step + 1))?;
    }
    Ok(())
}

fn next_steps(plan: &Plan, settings: &Config) -> Vec<String> {
    let file = plan.config.shown();
    let command = if plan.config == Path::new(config::DEFAULT_FILE) {
        "token-broker".to_owned()
    } else {
        format!("token-broker --config {file}")
    };
    let mut steps = Vec::new();
    steps.extend(plan.key.iter().map(|key| {
        let key = key.shown();
        format!("keep a copy of {key} in a safe place: without it the stored grants cannot be opened")
    }));
    if settings.google.client().is_err() {
        steps.push(format!(
            "set client_id and client_secret_file in the section [google] of {file}"
        ));
    }
    steps.push(format!("run the daemon: {command} serve"));
    steps.push(format!(
        "connect an account: {command} connect --owner alice --capability google.gmail.send"
    ));
    steps.push(format!("look for mistakes: {command} doctor"));
    steps
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::{
        super::{output::Format, testing::parse},
        *,
    };

    fn init(dir: &Path, extra: &[&str]) -> (Outcome, String) {
        let mut line = vec!["--config-dir", dir.to_str().unwrap()];
        line.extend_from_slice(extra);
        let (mut output, out, _) = Output::captured(Format::Text);
        let outcome = run(&parse::<InitArgs>(&line), &Global::default(), &mut output);
        (outcome, out.text())
    }

    #[test]
    fn where_a_kms_keeps_the_key_there_is_no_file_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        let (outcome, out) = init(&etc, &["--set", "key.source=kms:unix:///run/kms.sock"]);
        assert_eq!(outcome, Ok(Exit::Ok));
        assert!(!etc.join("master.key").exists());
        assert!(!out.contains("master.key"), "{out}");
    }

    #[test]
    fn what_is_written_can_be_used() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b");
        let (outcome, out) = init(&dir, &["--set", "google.client_id=x.apps.googleusercontent.com"]);
        assert_eq!(outcome, Ok(Exit::Ok));
        assert!(out.contains("serve"), "{out}");
        let config = Config::load(Some(&dir.join("config.toml")), std::iter::empty())
            .ok()
            .unwrap();
        assert_eq!(
            config.google.client_id.as_deref(),
            Some("x.apps.googleusercontent.com")
        );
        assert_eq!(dir.join("master.key").metadata().unwrap().mode() & 0o777, 0o600);
        assert!(key::parse(&fs::read(dir.join("master.key")).unwrap()).is_ok());
        assert!(config.agents_dir().is_dir());
    }

    #[test]
    fn nothing_is_written_over() {
        for present in ["master.key", "config.toml"] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(present), "precious").unwrap();
            let failure = init(dir.path(), &[]).0.unwrap_err();
            assert_eq!(failure.exit, Exit::Failed);
            assert!(
                failure.message.contains(&format!("{present} exists already")),
                "{failure}"
            );
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            assert_eq!(fs::read_to_string(dir.path().join(present)).unwrap(), "precious");
        }
    }

    #[test]
    fn a_setting_that_is_wrong_leaves_nothing_behind() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("new");
        for wrong in ["no.such_key=1", "http_listen=nowhere"] {
            let failure = init(&dir, &["--set", wrong]).0.unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{failure}");
            assert!(!dir.exists(), "{wrong}");
        }
        let failure = init(&dir, &["--set", "google.client_secret=GOCSPX-canary"])
            .0
            .unwrap_err();
        assert!(
            failure.message.contains("client_secret_file") && !failure.message.contains("canary"),
            "{failure}"
        );
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_not_written_over() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "precious").unwrap();
        let failure = create(file.path(), 0o600, &[b"new"]).unwrap_err();
        assert!(failure.message.contains("exists already"), "{failure}");
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "precious");
    }

    #[test]
    fn two_keys_are_never_the_same() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            init(&dir.path().join(name), &[]).0.unwrap();
        }
        let read = |name: &str| fs::read(dir.path().join(name).join("master.key")).unwrap();
        assert_ne!(read("a"), read("b"));
    }
}
