//! Agents from a `ConfigMap`: the manifests' folder is a volume that the kubelet writes.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::support::{Daemon, Emulator, manifest, wait_until};

const SEND: &str = "google.gmail.send";
const CALENDAR: &str = "google.calendar.readonly";

/// A volume as the kubelet's atomic writer has it: each file is a link through `..data`, which is a link to a folder
/// that is never changed. A new content is a new folder, and `..data` is exchanged by a rename.
struct Volume {
    folder: PathBuf,
    versions: usize,
}

impl Volume {
    fn new(folder: PathBuf) -> Self {
        Self { folder, versions: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What is in it from now on.
    fn write(&mut self, files: &[(&str, String)]) {
        self.versions += 1;
        // Kubernetes' names end in a number; this one ends as a manifest's does, which must not matter.
        let version = format!("..2026_01_15_10_30_00.{}.yaml", self.versions);
        fs::create_dir(self.path(&version)).unwrap();
        for (name, text) in files {
            fs::write(self.path(&version).join(name), text).unwrap();
        }
        let before = fs::read_link(self.path("..data")).ok();
        symlink(&version, self.path("..data_tmp")).unwrap();
        fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
        for (name, _) in files {
            if fs::symlink_metadata(self.path(name)).is_err() {
                symlink(Path::new("..data").join(name), self.path(name)).unwrap();
            }
        }
        for entry in fs::read_dir(&self.folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !name.starts_with("..") && !files.iter().any(|(kept, _)| *kept == name) {
                fs::remove_file(self.path(&name)).unwrap();
            }
        }
        if let Some(before) = before {
            fs::remove_dir_all(self.folder.join(before)).unwrap();
        }
    }
}

fn agents(daemon: &Daemon) -> (Vec<String>, usize) {
    let listed = daemon
        .cli(&["agents", "list", "--output", "json"])
        .expect_ok()
        .json();
    let names = listed["agents"].as_array().unwrap().iter();
    let names = names.map(|agent| agent["agent"].as_str().unwrap().to_owned());
    (names.collect(), listed["problems"].as_array().unwrap().len())
}

#[test]
fn agents_come_change_and_go_with_a_config_map() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    let mut volume = Volume::new(daemon.agents_d());
    let of = |agent: &str, keys: &[&str]| manifest(agent, "alice", keys);
    volume.write(&[("one.yaml", of("one", &[SEND])), ("two.yaml", of("two", &[SEND]))]);
    daemon.start();
    daemon.connect("alice", &[SEND, CALENDAR]).expect_ok();
    let one = daemon.wait_for_state("one", "active");
    let two = daemon.wait_for_state("two", "active");
    // The folder of the version, and the link to it, are nobody's manifests.
    assert_eq!(agents(&daemon), (vec!["one".to_owned(), "two".to_owned()], 0));
    let token = one.token();

    // One stays, one is changed, one comes: all in one exchange.
    let both = [SEND, CALENDAR];
    volume.write(&[
        ("one.yaml", of("one", &[SEND])),
        ("two.yaml", of("two", &both)),
        ("three.yaml", of("three", &[CALENDAR])),
    ]);
    daemon.wait_for_state("three", "active");
    wait_until("the second capability", || {
        two.variable("GOOGLE_OAUTH_CAPABILITIES").as_deref()
            == Some("google.gmail.send,google.calendar.readonly")
    });
    assert_eq!(one.token(), token, "nothing happened to the one that is the same");

    volume.write(&[("three.yaml", of("three", &[CALENDAR]))]);
    wait_until("the others to go", || {
        !one.directory.exists() && !two.directory.exists()
    });
    assert_eq!(agents(&daemon), (vec!["three".to_owned()], 0));

    // Whatever came while there was no daemon.
    assert_eq!(daemon.terminate(), 0);
    volume.write(&[("one.yaml", of("one", &[SEND]))]);
    daemon.start();
    daemon.wait_for_state("one", "active");
    assert_eq!(agents(&daemon), (vec!["one".to_owned()], 0));
}
