//! Manifests, and whether each agent can read its directory.

use std::{os::unix::fs::MetadataExt, path::Path, sync::Arc};

use super::{
    daemon::Seen,
    finding::{Finding, SHOWN},
};
use crate::{
    capability::Catalog,
    config::Config,
    manifest::{Folder, Scan, listing},
    text::{ShowPath, count},
};

/// An agent, and who may read its directory.
pub(super) struct Expected {
    pub(super) name: String,
    uid: Option<u32>,
    gid: Option<u32>,
}

/// Looks at the directories of the agents that are known, to the daemon or from their manifests.
pub(super) fn check(config: &Config, seen: &Seen, on_disk: &Scan) -> Vec<Finding> {
    let expected = match &seen.agents {
        Some(agents) => agents
            .iter()
            .map(|agent| Expected {
                name: agent.spec.agent.clone(),
                uid: agent.spec.uid,
                gid: agent.spec.gid,
            })
            .collect(),
        None => expected(on_disk),
    };
    let mut findings = directories(&config.runtime_dir, &expected);
    findings.extend(open_files(seen, expected.len()));
    findings
}

/// The agents of these manifests.
pub(super) fn expected(on_disk: &Scan) -> Vec<Expected> {
    let manifests = on_disk.manifests.values().map(|file| &file.manifest);
    manifests
        .map(|manifest| Expected {
            name: manifest.agent.to_string(),
            uid: manifest.uid,
            gid: manifest.gid,
        })
        .collect()
}

/// Reads the folder of manifests as the daemon does.
pub(super) fn manifests(config: &Config, user: u32) -> (Scan, Vec<Finding>) {
    const CHECK: &str = "manifests";
    let path = config.agents_dir();
    let shown = path.shown();
    // What is wrong with the additions is said elsewhere.
    let catalog = Catalog::configured(config).unwrap_or_else(|_| Catalog::builtin());
    let scan = Folder::new(path.clone(), Arc::new(catalog)).of_user(user).scan();
    if scan.problems.is_empty() && !path.exists() {
        return (
            scan,
            vec![Finding::ok(CHECK, format!("none: there is no folder {shown}"))],
        );
    }
    let ignored = listing::survey(&path).unwrap_or_default().ignored;
    let mut findings: Vec<Finding> = scan
        .problems
        .iter()
        .map(|problem| {
            let is_ignored = ignored.iter().any(|(path, _)| *path == problem.path);
            let finding = if is_ignored { Finding::warn } else { Finding::fail };
            finding(CHECK, problem.message.clone(), "correct it".to_owned())
        })
        .take(SHOWN)
        .collect();
    if findings.is_empty() {
        let count = scan.manifests.len();
        findings.push(Finding::ok(CHECK, format!("{count} in {shown}, all valid")));
    }
    (scan, findings)
}

fn directories(runtime_dir: &Path, agents: &[Expected]) -> Vec<Finding> {
    const CHECK: &str = "agent directories";
    let root = runtime_dir.join("agents");
    let Ok(metadata) = root.metadata() else {
        return Vec::new();
    };
    let looked_at = agents
        .iter()
        .filter(|agent| root.join(&agent.name).is_dir())
        .count();
    let wrong = agents
        .iter()
        .filter_map(|agent| wrong_owner(&root, agent, metadata.uid()));
    let mut findings: Vec<Finding> = wrong
        .map(|message| {
            Finding::fail(
                CHECK,
                message,
                "the daemon needs CAP_CHOWN, or to run as that user",
            )
        })
        .take(SHOWN)
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok(
            CHECK,
            format!("{looked_at} under {}, owned as declared", root.shown()),
        ));
    }
    findings
}

/// What is wrong with the owner or the mode of an agent's `env`.
fn wrong_owner(root: &Path, agent: &Expected, daemon: u32) -> Option<String> {
    let file = root.join(&agent.name).join("env");
    let metadata = file.symlink_metadata().ok()?;
    let (shown, mode) = (file.shown(), metadata.mode() & 0o777);
    let uid = agent.uid.unwrap_or(daemon);
    if metadata.uid() != uid {
        return Some(format!(
            "{shown} belongs to uid {}, and the agent runs as uid {uid}",
            metadata.uid()
        ));
    }
    if let Some(gid) = agent.gid.filter(|gid| *gid != metadata.gid()) {
        return Some(format!(
            "{shown} belongs to gid {}, and the agent declares gid {gid}",
            metadata.gid()
        ));
    }
    let allowed = if agent.gid.is_some() { 0o440 } else { 0o400 };
    (mode & !allowed != 0).then(|| format!("{shown} has mode {mode:04o} instead of {allowed:04o}"))
}

/// Each agent keeps a listening socket open, and each of its connections is one more file.
fn open_files(seen: &Seen, agents: usize) -> Option<Finding> {
    const CHECK: &str = "open files";
    let limit = seen.open_files?;
    let needed = 256 + 2 * agents as u64;
    let agents = count(agents as u64, "agent", "agents");
    Some(if limit < needed {
        let message = format!("the daemon may open {limit} files; about {needed} are needed for {agents}");
        Finding::fail(
            CHECK,
            message,
            "raise it: LimitNOFILE= in the systemd unit, or `ulimit -n`",
        )
    } else {
        Finding::ok(
            CHECK,
            format!("up to {limit}; about {needed} are needed for {agents}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::{super::finding::Verdict, *};

    #[test]
    fn an_env_file_that_its_agent_cannot_read_or_others_can_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("agents/bot");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("env"), "").unwrap();
        let me = rustix::process::geteuid().as_raw();
        let find = |uid, mode| {
            fs::set_permissions(folder.join("env"), fs::Permissions::from_mode(mode)).unwrap();
            let agent = Expected {
                name: "bot".to_owned(),
                uid,
                gid: None,
            };
            directories(dir.path(), &[agent])[0].clone()
        };
        assert_eq!(find(None, 0o400).verdict, Verdict::Ok);
        assert_eq!(find(Some(me), 0o400).verdict, Verdict::Ok);
        assert!(
            find(Some(me + 1), 0o400)
                .message
                .contains("the agent runs as uid")
        );
        assert!(find(None, 0o444).message.contains("mode 0444 instead of 0400"));
    }

    #[test]
    fn too_few_open_files_are_found() {
        let seen = |limit| Seen {
            agents: None,
            client: None,
            process: None,
            user: None,
            open_files: Some(limit),
        };
        assert_eq!(open_files(&seen(1024), 384).unwrap().verdict, Verdict::Ok);
        assert_eq!(open_files(&seen(1024), 385).unwrap().verdict, Verdict::Fail);
    }
}
