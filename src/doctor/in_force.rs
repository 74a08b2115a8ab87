//! Whether the manifests in force are those on disk.

use std::{collections::BTreeMap, path::Path};

use super::{
    daemon::KnownAgent,
    finding::{Finding, SHOWN},
};
use crate::{
    admin_api::convert,
    manifest::{ManifestFile, Scan},
    text::ShowPath,
};

const CHECK: &str = "manifests in force";
/// What to do: the daemon looks by itself.
const ADVICE: &str =
    "the daemon reads the folder again within 30 s, or at once with SIGHUP; if it does not, its log says why";

/// What differs between the agents that the daemon knows and the folder, in sentences.
pub(super) fn differences(agents: &[KnownAgent], on_disk: &Scan) -> Vec<String> {
    let from_files: BTreeMap<&str, (&KnownAgent, &Path)> = agents
        .iter()
        .filter_map(|agent| {
            let file = agent.source.strip_prefix("file:")?;
            Some((agent.spec.agent.as_str(), (agent, Path::new(file))))
        })
        .collect();
    let known = |name: &str| agents.iter().any(|agent| agent.spec.agent == name);
    let mut found = Vec::new();
    for (name, file) in &on_disk.manifests {
        match from_files.get(name.as_str()) {
            Some((agent, _)) if is_same(agent, file) => {}
            Some(_) => found.push(format!(
                "{} is not what is in force for agent {name}",
                file.path.shown()
            )),
            // One that came over the API goes before a file's.
            None if known(name.as_str()) => {}
            None => found.push(format!(
                "{} is not in force: the daemon knows no agent {name}",
                file.path.shown()
            )),
        }
    }
    for (name, (_, file)) in from_files {
        // A file that is there and wrong is told of as such: its last good version stays in force.
        if std::fs::symlink_metadata(file).is_err()
            && !on_disk.manifests.keys().any(|agent| agent.as_str() == name)
        {
            found.push(format!(
                "agent {name} is in force, and its file {} is gone",
                file.shown()
            ));
        }
    }
    found
}

fn is_same(agent: &KnownAgent, file: &ManifestFile) -> bool {
    agent.spec == convert::spec(&file.manifest)
}

/// What there is to say of them.
pub(super) fn findings(differences: Vec<String>, agents: usize) -> Vec<Finding> {
    if differences.is_empty() {
        return vec![Finding::ok(
            CHECK,
            format!("what is on disk is in force ({agents})"),
        )];
    }
    let shown = differences.into_iter().take(SHOWN);
    shown
        .map(|message| Finding::fail(CHECK, message, ADVICE))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use super::*;
    use crate::{capability::Catalog, manifest::Folder, proto::v1};

    const BOT: &str = "agent: bot\nowner: alice\nintegrations:\n  - key: google.gmail.send\n";

    #[test]
    fn each_difference_between_the_folder_and_the_daemon_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bot.yaml");
        let scan = || Folder::new(dir.path(), Arc::new(Catalog::builtin())).scan();
        let said = |agents: &[KnownAgent]| -> Vec<String> {
            let found = differences(agents, &scan()).into_iter();
            found
                .map(|said| said.replace(&format!("{}/", dir.path().display()), ""))
                .collect()
        };
        fs::write(&file, BOT).unwrap();
        assert_eq!(
            said(&[]),
            ["bot.yaml is not in force: the daemon knows no agent bot"]
        );
        let manifest = scan().manifests.values().next().unwrap().manifest.clone();
        let in_force = |source: String| {
            [KnownAgent::from(v1::Agent {
                spec: Some(convert::spec(&manifest)),
                source,
                ..v1::Agent::default()
            })]
        };
        let from_file = in_force(format!("file:{}", file.display()));
        assert_eq!(said(&from_file), [""; 0]);
        assert_eq!(said(&in_force("api".to_owned())), [""; 0], "the API's goes first");
        for other in [
            BOT.replace("alice", "bob"),
            BOT.replace("send", "readonly"),
            format!("{BOT}uid: 7\n"),
        ] {
            fs::write(&file, other).unwrap();
            assert_eq!(
                said(&from_file),
                ["bot.yaml is not what is in force for agent bot"]
            );
        }
        // What is wrong is told of as such, and its last good version is in force.
        fs::write(&file, "agent: [\n").unwrap();
        assert_eq!(said(&from_file), [""; 0]);
        fs::remove_file(&file).unwrap();
        assert_eq!(
            said(&from_file),
            ["agent bot is in force, and its file bot.yaml is gone"]
        );
    }
}
