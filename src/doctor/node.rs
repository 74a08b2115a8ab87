//! A node: what the operator wrote, the daemon where one runs, and what its agents see.

use std::{path::Path, time::Duration};

use jiff::Timestamp;

use super::{
    agents, configuration,
    daemon::{self, Seen},
    delivered, endpoints, exposure, files,
    finding::{Finding, Verdict},
    in_force, kubernetes, libraries, mounts, upstream,
};
use crate::{
    client::{admin::Admin, exit::Failure},
    clock::SharedClock,
    config::Config,
    manifest::Scan,
    net::tls_files::NamedFile,
};

/// How long a change of a manifest may take to be in force, and in the files.
const SETTLING: Duration = Duration::from_secs(2);

/// A node to look at.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    /// The configuration, where not the default one.
    pub(crate) config: Option<&'a Path>,
    /// The admin socket, where not the one in the configuration.
    pub(crate) admin_socket: Option<&'a Path>,
    /// The provider's endpoints and the Kubernetes API are left alone.
    pub(crate) is_offline: bool,
}

/// Looks at what the operator wrote, at the daemon where one runs, and at what the agents see.
pub(crate) async fn examine(node: &Node<'_>, clock: &SharedClock) -> Vec<Finding> {
    let (config, mut findings) = configuration::check(node.config);
    if let Some((config, section)) = config
        .as_ref()
        .and_then(|config| Some((config, config.upstream.as_ref()?)))
    {
        findings.extend(upstream::check(config, section));
        return once_each(findings);
    }
    let (seen, more) = daemon::check(node.admin_socket, config.as_ref()).await;
    if let Some(config) = &config {
        findings.push(configuration::check_client(config, seen.client.as_deref()));
        findings.extend(configuration::check_key(config).await);
        findings.extend(configuration::check_store(config).await);
        let user = seen.daemons_user(config);
        let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        findings.extend(exposure::check(config, user, in_pod));
        findings.extend(files::check(config, user));
        let (on_disk, wrong) = agents::manifests(config, user);
        findings.extend(wrong);
        findings.extend(agents::check(config, &seen, &on_disk));
        findings.extend(of_known_agents(node, config, &seen, &on_disk, clock).await);
        findings.extend(libraries::check(config, &seen, clock.now()));
        findings.extend(kubernetes::check(config, &seen, node.is_offline).await);
        if !node.is_offline {
            findings.extend(endpoints::check(config, clock, |name| std::env::var(name).ok()).await);
        }
    }
    findings.extend(mounts::check());
    findings.extend(more);
    once_each(findings)
}

/// Asks a daemon on another machine, which is all that can be looked at from here, and looks at the certificate that is shown
/// to it.
pub(crate) async fn examine_server(
    opened: Result<Admin, Failure>,
    certificate: &Path,
    now: Timestamp,
) -> Vec<Finding> {
    let own = NamedFile::new("--certificate", certificate).trouble(now);
    let own = own.map(|trouble| Finding::warn("certificate", trouble, ""));
    let mut findings = daemon::check_remote(opened).await;
    findings.extend(own);
    findings
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
    node: &Node<'_>,
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
            daemon::check(node.admin_socket, Some(config)).await.0.agents,
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

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt},
        path::{Path, PathBuf},
        sync::Arc,
    };

    use super::*;
    use crate::clock::ManualClock;

    /// A folder that `init` and an operator have set up well.
    fn sound(dir: &Path) -> PathBuf {
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
        config
    }

    async fn findings(config: &Path) -> Vec<Finding> {
        let node = Node {
            config: Some(config),
            admin_socket: None,
            is_offline: true,
        };
        let clock: SharedClock = Arc::new(ManualClock::new("2024-01-15T12:00:00Z".parse().unwrap()));
        examine(&node, &clock).await
    }

    async fn verdict(config: &Path, check: &str) -> Vec<(Verdict, String)> {
        let found = findings(config).await;
        let of_check = found.into_iter().filter(|finding| finding.check == check);
        of_check
            .map(|finding| (finding.verdict, finding.message))
            .collect()
    }

    #[tokio::test]
    async fn a_sound_setup_has_nothing_to_repair() {
        let dir = tempfile::tempdir().unwrap();
        let config = sound(dir.path());
        let found = findings(&config).await;
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
            let config = sound(dir.path());
            mistake(dir.path(), &mode);
            let found = verdict(&config, check).await;
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
        let config = sound(dir.path());
        assert!(verdict(&config, "adc.listen").await.is_empty());
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        add_to_config(
            dir.path(),
            &format!(
                "[adc]\nlisten = \"{address}\"\n[metadata]\nlisten = \"127.0.0.1:0\"\nagent = \"bot\"\n"
            ),
        );
        let (found, message) = verdict(&config, "adc.listen").await.remove(0);
        assert_eq!(found, Verdict::Fail);
        assert!(message.contains("cannot be bound"), "{message}");
        assert_eq!(verdict(&config, "metadata.listen").await[0].0, Verdict::Warn);
        drop(taken);
        assert_eq!(verdict(&config, "adc.listen").await[0].0, Verdict::Ok);
    }

    #[tokio::test]
    async fn an_unknown_agent_of_the_metadata_server_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let config = sound(dir.path());
        add_to_config(
            dir.path(),
            "[metadata]\nlisten = \"127.0.0.1:0\"\nagent = \"bot\"\n",
        );
        let (found, message) = verdict(&config, "metadata.agent").await.remove(0);
        assert_eq!(found, Verdict::Warn);
        assert!(message.contains("no agent bot"), "{message}");
        fs::create_dir(dir.path().join("agents.d")).unwrap();
        let manifest = "agent: bot\nowner: alice\nintegrations:\n  - key: google.gmail.send\n";
        fs::write(dir.path().join("agents.d/bot.yaml"), manifest).unwrap();
        assert_eq!(verdict(&config, "metadata.agent").await[0].0, Verdict::Ok);
    }

    #[tokio::test]
    async fn a_configuration_that_cannot_be_read_is_named_and_the_rest_still_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let config = sound(dir.path());
        fs::write(dir.path().join("config.toml"), "state_dirr = \"x\"\n").unwrap();
        let found = findings(&config).await;
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
}
