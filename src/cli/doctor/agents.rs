//! Manifests, and whether each agent can read its directory.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use super::{super::when, Finding, daemon::Seen};
use crate::{agent::Manifest, catalog::Catalog, config::Config};

/// More than this many single findings of a kind help nobody.
const SHOWN: usize = 10;

/// An agent, and who may read its directory.
pub(super) struct Expected {
    pub(super) name: String,
    uid: Option<u32>,
    gid: Option<u32>,
}

/// Looks at the manifests, then at the directories of the agents that are known.
pub(super) fn check(config: &Config, seen: &Seen) -> Vec<Finding> {
    let (mut expected, mut findings) = manifests(config);
    if let Some(agents) = &seen.agents {
        expected = agents
            .iter()
            .map(|agent| Expected {
                name: agent.agent.clone(),
                uid: agent.uid,
                gid: agent.gid,
            })
            .collect();
    }
    findings.extend(directories(&config.runtime_dir, &expected));
    findings.extend(open_files(seen, expected.len()));
    findings
}

pub(super) fn manifests(config: &Config) -> (Vec<Expected>, Vec<Finding>) {
    const CHECK: &str = "manifests";
    let folder = config.agents_dir();
    let shown = folder.display();
    // What is wrong with the additions is said elsewhere.
    let catalog = Catalog::builtin()
        .with(&config.capabilities)
        .unwrap_or_else(|_| Catalog::builtin());
    let Ok(entries) = fs::read_dir(&folder) else {
        return (
            Vec::new(),
            vec![Finding::ok(CHECK, format!("none: there is no folder {shown}"))],
        );
    };
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for path in entries.flatten().map(|entry| entry.path()) {
        if path
            .extension()
            .is_none_or(|extension| extension != "yaml" && extension != "yml")
        {
            continue;
        }
        let name = path.display().to_string();
        let read = fs::read_to_string(&path).map_err(|error| format!("{name}: it cannot be read: {error}"));
        let read = read.and_then(|text| {
            Manifest::from_yaml_with(&catalog, &text, &name).map_err(|error| error.to_string())
        });
        match read {
            Ok(manifest) => {
                good.push(Expected {
                    name: manifest.agent.to_string(),
                    uid: manifest.uid,
                    gid: manifest.gid,
                });
            }
            Err(message) => wrong.push(Finding::fail(CHECK, message, "correct it")),
        }
    }
    if wrong.is_empty() {
        wrong.push(Finding::ok(
            CHECK,
            format!("{} in {shown}, all valid", good.len()),
        ));
    }
    wrong.truncate(SHOWN);
    (good, wrong)
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
            format!("{looked_at} under {}, owned as declared", root.display()),
        ));
    }
    findings
}

/// What is wrong with the owner or the mode of an agent's `env`.
fn wrong_owner(root: &Path, agent: &Expected, daemon: u32) -> Option<String> {
    let file = root.join(&agent.name).join("env");
    let metadata = file.symlink_metadata().ok()?;
    let (shown, mode) = (file.display(), metadata.mode() & 0o777);
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
    let agents = when::count(agents as u64, "agent", "agents");
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
    use std::os::unix::fs::PermissionsExt;

    use super::{super::Verdict, *};

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
            process: None,
            open_files: Some(limit),
        };
        assert_eq!(open_files(&seen(1024), 384).unwrap().verdict, Verdict::Ok);
        assert_eq!(open_files(&seen(1024), 385).unwrap().verdict, Verdict::Fail);
    }
}
