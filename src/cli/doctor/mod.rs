//! `doctor`: finds the usual mistakes, with or without a running daemon.

mod agent_side;
mod agents;
mod configuration;
mod daemon;
mod delivered;
mod endpoints;
mod exposure;
mod files;
mod foreign;
mod in_force;
mod kubernetes;
mod libraries;
mod mounts;

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use self::daemon::Seen;
use super::{
    agent_client::AgentArgs,
    args::Global,
    exit::{Exit, Failure, Outcome},
    output::Output,
    progress,
    style::Tone,
};
use crate::{agent::Scan, clock::SharedClock, config::Config, text::one_line};

/// How long a change of a manifest may take to be in force, and in the files.
const SETTLING: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "\
Examples:
  token-broker doctor
  token-broker doctor --agent invoice-bot
  token-broker doctor --offline --output json | jq '.checks[] | select(.verdict != \"ok\")'

On the node, run it as the daemon's user, or as root. In an agent's container, or with --agent, it looks at what that \
agent sees. Exits with 1 when something has to be repaired.";

/// Find the usual mistakes
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorArgs {
    /// Leave the provider's endpoints and the Kubernetes API alone
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    agent: AgentArgs,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, or may work; worth a look.
    Warn,
    /// It has to be repaired.
    Fail,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at, in a word or two.
    pub(super) check: &'static str,
    /// How it went.
    pub(super) verdict: Verdict,
    /// What was found.
    pub(super) message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) advice: String,
}

impl Finding {
    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Ok,
            message: message.into(),
            advice: String::new(),
        }
    }

    pub(super) fn warn(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Warn,
            message: message.into(),
            advice: advice.into(),
        }
    }

    pub(super) fn fail(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fail,
            ..Self::warn(check, message, advice)
        }
    }
}

/// Runs `doctor`.
pub(super) async fn run(args: &DoctorArgs, global: &Global, output: &mut Output) -> Outcome {
    let clock = output.clock();
    let findings = match agent_side::socket(&args.agent, global)? {
        Some(socket) => {
            let mut findings = agent_side::check(&socket, &clock, variable).await;
            findings.extend(mounts::check());
            findings
        }
        None => progress::during(output, "looking around", Box::pin(examine(args, global, &clock))).await,
    };
    report(&findings, output)?;
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

async fn examine(args: &DoctorArgs, global: &Global, clock: &SharedClock) -> Vec<Finding> {
    let (config, mut findings) = configuration::check(global);
    let (seen, more) = daemon::check(global, config.as_ref()).await;
    if let Some(config) = &config {
        findings.push(configuration::check_client(config, seen.client.as_deref()));
        findings.extend(configuration::check_key(config).await);
        let user = seen.daemons_user(config);
        let in_pod = variable("KUBERNETES_SERVICE_HOST").is_some();
        findings.extend(exposure::check(config, user, in_pod));
        findings.extend(files::check(config, user));
        let (on_disk, wrong) = agents::manifests(config, user);
        findings.extend(wrong);
        findings.extend(agents::check(config, &seen, &on_disk));
        findings.extend(of_known_agents(global, config, &seen, &on_disk, clock).await);
        findings.extend(libraries::check(config, &seen, clock.now()));
        findings.extend(kubernetes::check(config, &seen, args.offline).await);
        if !args.offline {
            findings.extend(endpoints::check(config, clock, variable).await);
        }
    }
    findings.extend(mounts::check());
    findings.extend(more);
    once_each(findings)
}

/// What was found here, and is told by the daemon as well, counts once.
fn once_each(findings: Vec<Finding>) -> Vec<Finding> {
    let mut kept: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        let is_known = |known: &Finding| known.message == finding.message && known.verdict >= finding.verdict;
        if finding.verdict == Verdict::Ok || !kept.iter().any(is_known) {
            kept.push(finding);
        }
    }
    kept
}

/// What the agents of a running daemon have, and whether they are those that the manifests declare.
async fn of_known_agents(
    global: &Global,
    config: &Config,
    seen: &Seen,
    on_disk: &Scan,
    clock: &SharedClock,
) -> Vec<Finding> {
    let Some(agents) = &seen.agents else {
        return Vec::new();
    };
    let (mut differences, mut delivered) = (
        in_force::differences(agents, on_disk),
        delivered::check(&config.runtime_dir, agents, clock),
    );
    let is_well = |findings: &[Finding]| findings.iter().all(|finding| finding.verdict == Verdict::Ok);
    if !differences.is_empty() || !is_well(&delivered) {
        // Something may have been changed just now: both are read once more.
        tokio::time::sleep(SETTLING).await;
        if let (Some(agents), (on_disk, _)) = (
            daemon::check(global, Some(config)).await.0.agents,
            agents::manifests(config, seen.daemons_user(config)),
        ) {
            differences = in_force::differences(&agents, &on_disk);
            delivered = delivered::check(&config.runtime_dir, &agents, clock);
        }
    }
    let mut findings = in_force::findings(differences, on_disk.manifests.len());
    findings.extend(delivered);
    findings
}

fn report(findings: &[Finding], output: &mut Output) -> Result<(), Failure> {
    let count = |verdict| {
        findings
            .iter()
            .filter(|finding| finding.verdict == verdict)
            .count()
    };
    let (warnings, failures) = (count(Verdict::Warn), count(Verdict::Fail));
    if output.is_json() {
        return output.json(&serde_json::json!({
            "ok": failures == 0,
            "warnings": warnings,
            "failures": failures,
            "checks": findings,
        }));
    }
    for finding in findings {
        let (word, tone) = match finding.verdict {
            Verdict::Ok => ("ok  ", Tone::Plain),
            Verdict::Warn => ("warn", Tone::Warn),
            Verdict::Fail => ("FAIL", Tone::Bad),
        };
        // A line each, whatever the names are that it repeats.
        let (message, advice) = (one_line(&finding.message, &[]), one_line(&finding.advice, &[]));
        output.toned(tone, &format!("{word}  {}: {message}", finding.check))?;
        if !advice.is_empty() {
            output.line(&format!("      -> {advice}"))?;
        }
    }
    let summary = match (failures, warnings) {
        (0, 0) => (Tone::Good, "Everything looks right.".to_owned()),
        (0, _) => (Tone::Warn, format!("It should work; {warnings} worth a look.")),
        _ => (
            Tone::Bad,
            format!("{failures} to repair, {warnings} worth a look."),
        ),
    };
    output.line("")?;
    output.toned(summary.0, &summary.1)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt},
        path::Path,
    };

    use super::{super::output::Format, *};

    /// A folder that `init` and an operator have set up well.
    fn sound(dir: &Path) -> Global {
        let config = dir.join("config.toml");
        let text = "state_dir = \"state\"\nruntime_dir = \"run\"\n[google]\nclient_id = \"x\"\n\
                    client_secret_file = \"secret\"\n";
        fs::write(&config, text).unwrap();
        for (name, content) in [("secret", "s"), ("master.key", &"A".repeat(43))] {
            fs::write(dir.join(name), content).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        for (name, mode) in [("state", 0o700), ("run", 0o755)] {
            fs::create_dir(dir.join(name)).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        Global {
            config: Some(config),
            ..Global::default()
        }
    }

    async fn findings(global: &Global) -> Vec<Finding> {
        let (output, ..) = Output::captured(Format::Text);
        let args = DoctorArgs {
            offline: true,
            agent: AgentArgs::default(),
        };
        examine(&args, global, &output.clock()).await
    }

    async fn verdict(global: &Global, check: &str) -> Vec<(Verdict, String)> {
        let found = findings(global).await;
        let of_check = found.into_iter().filter(|finding| finding.check == check);
        of_check
            .map(|finding| (finding.verdict, finding.message))
            .collect()
    }

    #[tokio::test]
    async fn a_sound_setup_has_nothing_to_repair() {
        let dir = tempfile::tempdir().unwrap();
        let global = sound(dir.path());
        let found = findings(&global).await;
        let failed = found.iter().filter(|finding| finding.verdict == Verdict::Fail);
        let failed: Vec<_> = failed.map(|finding| finding.check).collect();
        assert_eq!(failed, ["daemon"], "it does not run");
    }

    #[tokio::test]
    async fn each_mistake_is_found() {
        type Mistake = fn(&Path, &dyn Fn(&Path, u32));
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let mistakes: [(&str, Mistake); 13] = [
            ("master key", |dir, mode| mode(&dir.join("master.key"), 0o644)),
            ("master key", |dir, _| {
                fs::write(dir.join("master.key"), "AAAA").unwrap();
            }),
            ("master key", |dir, _| {
                fs::remove_file(dir.join("master.key")).unwrap();
            }),
            ("state_dir", |dir, mode| mode(&dir.join("state"), 0o755)),
            ("runtime_dir", |dir, mode| mode(&dir.join("run"), 0o777)),
            ("runtime_dir", |dir, mode| mode(&dir.join("run"), 0)),
            ("state_dir", |dir, mode| mode(&dir.join("state"), 0)),
            ("agents' folder", |dir, _| {
                fs::write(dir.join("run/agents"), "").unwrap();
            }),
            ("who may write", |dir, mode| mode(dir, 0o777)),
            ("who may write", |dir, mode| mode(&dir.join("config.toml"), 0o666)),
            ("runtime_dir", |dir, _| {
                let owner = fs::metadata(dir).unwrap().uid() + 1;
                // Only root gives files away; anybody else has to do without.
                if std::os::unix::fs::chown(dir.join("run"), Some(owner), None).is_err() {
                    fs::set_permissions(dir.join("run"), fs::Permissions::from_mode(0o777)).unwrap();
                }
            }),
            ("google client", |dir, _| {
                fs::remove_file(dir.join("secret")).unwrap();
            }),
            ("manifests", |dir, _| {
                fs::create_dir(dir.join("agents.d")).unwrap();
                fs::write(dir.join("agents.d/a.yaml"), "agent: A\n").unwrap();
            }),
        ];
        for (check, mistake) in mistakes {
            let dir = tempfile::tempdir().unwrap();
            let global = sound(dir.path());
            mistake(dir.path(), &mode);
            let found = verdict(&global, check).await;
            assert!(
                found.iter().any(|(verdict, _)| *verdict == Verdict::Fail),
                "{check}: {found:?}"
            );
        }
    }

    fn add_to_config(dir: &Path, text: &str) {
        let config = dir.join("config.toml");
        let before = fs::read_to_string(&config).unwrap();
        fs::write(&config, before + text).unwrap();
    }

    #[tokio::test]
    async fn the_ports_for_googles_libraries_are_tried() {
        let dir = tempfile::tempdir().unwrap();
        let global = sound(dir.path());
        assert!(verdict(&global, "adc.listen").await.is_empty());
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        add_to_config(
            dir.path(),
            &format!(
                "[adc]\nlisten = \"{address}\"\n[metadata]\nlisten = \"127.0.0.1:0\"\nagent = \"bot\"\n"
            ),
        );
        let (found, message) = verdict(&global, "adc.listen").await.remove(0);
        assert_eq!(found, Verdict::Fail);
        assert!(message.contains("cannot be bound"), "{message}");
        assert_eq!(verdict(&global, "metadata.listen").await[0].0, Verdict::Warn);
        drop(taken);
        assert_eq!(verdict(&global, "adc.listen").await[0].0, Verdict::Ok);
    }

    #[tokio::test]
    async fn an_unknown_agent_of_the_metadata_server_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let global = sound(dir.path());
        add_to_config(
            dir.path(),
            "[metadata]\nlisten = \"127.0.0.1:0\"\nagent = \"bot\"\n",
        );
        let (found, message) = verdict(&global, "metadata.agent").await.remove(0);
        assert_eq!(found, Verdict::Warn);
        assert!(message.contains("no agent bot"), "{message}");
        fs::create_dir(dir.path().join("agents.d")).unwrap();
        let manifest = "agent: bot\nowner: alice\nintegrations:\n  - key: google.gmail.send\n";
        fs::write(dir.path().join("agents.d/bot.yaml"), manifest).unwrap();
        assert_eq!(verdict(&global, "metadata.agent").await[0].0, Verdict::Ok);
    }

    #[tokio::test]
    async fn a_configuration_that_cannot_be_read_is_named_and_the_rest_still_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let global = sound(dir.path());
        fs::write(dir.path().join("config.toml"), "state_dirr = \"x\"\n").unwrap();
        let found = findings(&global).await;
        assert_eq!(
            (found[0].check, found[0].verdict),
            ("configuration", Verdict::Fail)
        );
        assert!(found[0].message.contains("config.toml:1"), "{found:?}");
    }

    #[test]
    fn what_is_found_twice_counts_once() {
        let found = vec![
            Finding::ok("a", "fine"),
            Finding::fail("b", "open to others", "close it"),
            Finding::warn("daemon", "open to others", ""),
            Finding::ok("c", "fine"),
            Finding::warn("d", "later worse", ""),
            Finding::fail("e", "later worse", ""),
        ];
        let kept = once_each(found);
        let checks: Vec<_> = kept.iter().map(|finding| finding.check).collect();
        assert_eq!(checks, ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn the_report_is_text_or_json() {
        let found = [
            Finding::ok("a", "fine"),
            Finding::fail("b", "broken", "repair it"),
        ];
        let (mut output, out, _) = Output::captured(Format::Text);
        report(&found, &mut output).unwrap();
        assert_eq!(
            out.text(),
            "ok    a: fine\nFAIL  b: broken\n      -> repair it\n\n1 to repair, 0 worth a look.\n"
        );
        let (mut output, out, _) = Output::captured(Format::Json);
        report(&found, &mut output).unwrap();
        let value: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
        assert_eq!(
            (&value["ok"], &value["checks"][1]["advice"]),
            (&false.into(), &"repair it".into())
        );
    }
}
