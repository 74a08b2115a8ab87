//! The folder as people, editors and Kubernetes leave it, on a real file system.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

struct Scene {
    dir: tempfile::TempDir,
    folder: Folder,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("agents.d")).unwrap();
        let folder = Folder::new(dir.path().join("agents.d"), Arc::new(Catalog::builtin()));
        Self { dir, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Writes and looks, as the watcher does when it is told a name.
    fn told(&mut self, name: &str, content: &str) -> Scan {
        self.write(name, content);
        self.folder.distrust(OsStr::new(name));
        self.folder.scan()
    }
}

fn yaml(agent: &str, owner: &str) -> String {
    format!("agent: {agent}\nowner: {owner}\n")
}

/// `agent=owner` of what is in force.
fn shown(scan: &Scan) -> Vec<String> {
    let pairs = scan.manifests.iter();
    pairs
        .map(|(agent, file)| format!("{agent}={}", file.manifest.owner))
        .collect()
}

fn messages(scene: &Scene, scan: &Scan) -> Vec<String> {
    let root = format!("{}/", scene.dir.path().display());
    scan.problems
        .iter()
        .map(|p| p.message.replace(&root, ""))
        .collect()
}

#[test]
fn manifests_are_told_from_what_lies_beside_them() {
    let mut scene = Scene::new();
    scene.write("a.yaml", &yaml("a", "alice"));
    scene.write("b.yml", &yaml("b", "bob"));
    for other in [
        ".a.yaml.swp",
        ".hidden.yaml",
        "a.yaml~",
        "#a.yaml#",
        "a.yaml.bak",
        "README.md",
        "4913",
    ] {
        scene.write(other, "not: a manifest");
    }
    let scan = scene.folder.scan();
    assert_eq!(shown(&scan), ["a=alice", "b=bob"]);
    assert_eq!(scan.problems, []);
    assert_eq!(*scan.manifests[&"a".parse().unwrap()].path, scene.path("a.yaml"));
}

#[test]
fn the_last_good_version_stays_while_the_new_one_is_bad() {
    let mut scene = Scene::new();
    assert_eq!(shown(&scene.told("a.yaml", &yaml("a", "alice"))), ["a=alice"]);
    for half in [
        "",
        "agent: a\n",
        "agent: a\nowner: alice\nintegrations:\n  - key: goo",
    ] {
        let scan = scene.told("a.yaml", half);
        assert_eq!(shown(&scan), ["a=alice"], "{half:?}");
        let message = &messages(&scene, &scan)[0];
        assert!(message.starts_with("agents.d/a.yaml:"), "{message}");
        assert!(
            message.ends_with("; the version read before stays in force"),
            "{message}"
        );
    }
    let scan = scene.told("a.yaml", &yaml("a", "carol"));
    assert_eq!(shown(&scan), ["a=carol"]);
    assert_eq!(scan.problems, []);
}

#[test]
fn a_file_that_was_never_good_is_a_problem_alone() {
    let mut scene = Scene::new();
    scene.write("a.yaml", "agent: A\nowner: alice\n");
    scene.write("b.yaml", &yaml("b", "bob"));
    let scan = scene.folder.scan();
    assert_eq!(shown(&scan), ["b=bob"]);
    assert_eq!(
        messages(&scene, &scan),
        [
            "agents.d/a.yaml:1:8: agent: `A` is not an agent name: 1 to 63 lower-case letters, digits and \
          hyphens, starting and ending with a letter or digit"
        ]
    );
}

#[test]
fn a_removed_file_takes_its_agent_along() {
    let mut scene = Scene::new();
    scene.write("a.yaml", &yaml("a", "alice"));
    scene.folder.scan();
    fs::remove_file(scene.path("a.yaml")).unwrap();
    assert_eq!(scene.folder.scan(), Scan::default());
}

#[test]
fn a_file_renamed_over_another_replaces_it() {
    let mut scene = Scene::new();
    scene.write("a.yaml", &yaml("a", "alice"));
    scene.folder.scan();
    scene.write(".a.yaml.new", &yaml("a", "carol"));
    fs::rename(scene.path(".a.yaml.new"), scene.path("a.yaml")).unwrap();
    assert_eq!(shown(&scene.folder.scan()), ["a=carol"]);
}

#[test]
fn of_two_files_for_one_agent_the_one_in_force_stays() {
    let mut scene = Scene::new();
    scene.write("m.yaml", &yaml("x", "alice"));
    scene.folder.scan();
    scene.write("a.yaml", &yaml("x", "mallory"));
    let scan = scene.folder.scan();
    assert_eq!(shown(&scan), ["x=alice"]);
    assert_eq!(
        messages(&scene, &scan),
        [
            "agents.d/a.yaml: agent `x` is already declared in agents.d/m.yaml, which stays in force: remove one \
          of the two"
        ]
    );
    fs::remove_file(scene.path("m.yaml")).unwrap();
    let scan = scene.folder.scan();
    assert_eq!(shown(&scan), ["x=mallory"]);
    assert_eq!(scan.problems, []);
}

#[test]
fn of_two_new_files_for_one_agent_the_first_by_name_counts() {
    let mut scene = Scene::new();
    scene.write("b.yaml", &yaml("x", "bob"));
    scene.write("a.yaml", &yaml("x", "alice"));
    assert_eq!(shown(&scene.folder.scan()), ["x=alice"]);
}

#[test]
fn a_folder_that_is_gone_keeps_everything_in_force() {
    let mut scene = Scene::new();
    scene.write("a.yaml", &yaml("a", "alice"));
    scene.folder.scan();
    fs::remove_dir_all(scene.folder.path()).unwrap();
    let scan = scene.folder.scan();
    assert_eq!(shown(&scan), ["a=alice"]);
    assert_eq!(
        messages(&scene, &scan),
        [
            "agents.d: the folder is gone; the agents that it declared (1) stay in force: create it again, empty \
          to remove them"
        ]
    );
    fs::create_dir(scene.folder.path()).unwrap();
    assert_eq!(scene.folder.scan(), Scan::default());
}

#[test]
fn a_folder_that_was_never_there_is_no_problem() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = Folder::new(dir.path().join("agents.d"), Arc::new(Catalog::builtin()));
    assert_eq!(folder.scan(), Scan::default());
}

#[test]
fn a_link_to_a_folder_that_is_not_there_is_named() {
    let mut scene = Scene::new();
    fs::remove_dir(scene.folder.path()).unwrap();
    symlink("nowhere", scene.folder.path()).unwrap();
    let scan = scene.folder.scan();
    assert_eq!(
        messages(&scene, &scan),
        ["agents.d: the folder is a symbolic link to one that does not exist: correct the link"]
    );
    assert!(scan.unread.is_some() && scene.folder.is_absent());
}

#[test]
fn what_was_never_read_may_declare_anything_and_what_was_read_once_does_not() {
    let mut scene = Scene::new();
    scene.write("a.yaml", &yaml("a", "alice"));
    assert!(scene.folder.scan().unread.is_none());
    assert!(
        scene.told("a.yaml", "agent: [").unread.is_none(),
        "what it declared is in force"
    );
    scene.write("b.yaml", "agent: [");
    assert!(scene.folder.scan().unread.is_some());
    assert!(scene.told("b.yaml", &yaml("b", "bob")).unread.is_none());
    set_mode(&scene.path("b.yaml"), 0o664);
    assert!(scene.folder.scan().unread.is_none());
    let mut another = Folder::new(scene.folder.path(), Arc::new(Catalog::builtin()));
    assert!(another.scan().unread.is_some());
}

#[test]
fn what_is_in_the_folders_place_keeps_everything_in_force() {
    let mut scene = Scene::new();
    scene.write("a.yaml", &yaml("a", "alice"));
    scene.folder.scan();
    fs::remove_dir_all(scene.folder.path()).unwrap();
    fs::write(scene.folder.path(), "a file").unwrap();
    let scan = scene.folder.scan();
    assert_eq!(shown(&scan), ["a=alice"]);
    assert!(
        messages(&scene, &scan)[0].contains("the folder cannot be read"),
        "{:?}",
        scan.problems
    );
}

#[test]
fn a_config_map_is_swapped_in_one_step() {
    let mut scene = Scene::new();
    for (version, owner) in [("..1", "alice"), ("..2", "carol")] {
        fs::create_dir(scene.path(version)).unwrap();
        scene.write(&format!("{version}/a.yaml"), &yaml("a", owner));
    }
    symlink("..1", scene.path("..data")).unwrap();
    symlink("..data/a.yaml", scene.path("a.yaml")).unwrap();
    assert_eq!(shown(&scene.folder.scan()), ["a=alice"]);
    symlink("..2", scene.path("..data_tmp")).unwrap();
    fs::rename(scene.path("..data_tmp"), scene.path("..data")).unwrap();
    assert_eq!(shown(&scene.folder.scan()), ["a=carol"]);
    fs::remove_dir_all(scene.path("..2")).unwrap();
    let scan = scene.folder.scan();
    assert_eq!(shown(&scan), ["a=carol"]);
    assert_eq!(
        messages(&scene, &scan),
        [
            "agents.d/a.yaml: it is a symbolic link to a file that does not exist; the version read before stays \
          in force"
        ]
    );
}

#[test]
fn what_is_no_file_and_what_is_too_long_is_not_read() {
    let mut scene = Scene::new();
    fs::create_dir(scene.path("dir.yaml")).unwrap();
    let fifo = scene.path("fifo.yaml");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    scene.write("long.yaml", &"#".repeat(100_000));
    fs::write(scene.path("text.yaml"), [0xff]).unwrap();
    let scan = scene.folder.scan();
    assert_eq!(
        messages(&scene, &scan),
        [
            "agents.d/dir.yaml: it is not a regular file",
            "agents.d/fifo.yaml: it is not a regular file",
            "agents.d/long.yaml: it is longer than 65536 bytes, the most that a manifest has",
            "agents.d/text.yaml: it is not UTF-8 text",
        ]
    );
}

#[test]
fn an_unchanged_file_is_not_read_again_and_keeps_its_allocation() {
    let mut scene = Scene::new();
    scene.write("a.yaml", &yaml("a", "alice"));
    let one = scene.folder.scan();
    assert!(scene.folder.scan_if_changed().is_none());
    // The stamp that the content below will have: had it been opened, it would be read as a change.
    let path = scene.path("a.yaml");
    fs::write(&path, yaml("a", "carol")).unwrap();
    let stamp = Stamp::of(&fs::metadata(&path).unwrap());
    scene.folder.entries.get_mut(OsStr::new("a.yaml")).unwrap().stamp = Some(stamp);
    assert!(scene.folder.scan_if_changed().is_none());
    scene.folder.distrust(OsStr::new("a.yaml"));
    let two = scene.folder.scan_if_changed().unwrap();
    assert_eq!(shown(&two), ["a=carol"]);
    scene.folder.distrust_all();
    let three = scene.folder.scan();
    let a = "a".parse().unwrap();
    assert!(Arc::ptr_eq(&two.manifests[&a], &three.manifests[&a]));
    assert!(!Arc::ptr_eq(&one.manifests[&a], &three.manifests[&a]));
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_that_others_may_write_is_no_manifest() {
    let mut scene = Scene::new();
    scene.write("a.yaml", &yaml("a", "mallory"));
    set_mode(&scene.path("a.yaml"), 0o666);
    let scan = scene.folder.scan();
    assert_eq!(shown(&scan), [""; 0]);
    assert_eq!(
        messages(&scene, &scan),
        ["agents.d/a.yaml: others than its owner may write it (mode 0666): run `chmod go-w agents.d/a.yaml`"]
    );
    set_mode(&scene.path("a.yaml"), 0o644);
    scene.write("a.yaml", &yaml("a", "alice"));
    assert_eq!(shown(&scene.folder.scan()), ["a=alice"]);
    // What was good stays in force when the file is opened to others, whatever they write then.
    set_mode(&scene.path("a.yaml"), 0o646);
    let scan = scene.told("a.yaml", &yaml("a", "mallory"));
    assert_eq!(shown(&scan), ["a=alice"]);
    assert!(messages(&scene, &scan)[0].ends_with("; the version read before stays in force"));
    // A link is as good as what it leads to.
    let target = scene.dir.path().join("target");
    fs::write(&target, yaml("b", "mallory")).unwrap();
    set_mode(&target, 0o666);
    symlink(&target, scene.path("b.yaml")).unwrap();
    assert_eq!(shown(&scene.folder.scan()), ["a=alice"]);
    set_mode(&target, 0o644);
    assert_eq!(shown(&scene.folder.scan()), ["a=alice", "b=mallory"]);
}

#[test]
fn what_belongs_to_somebody_else_is_no_manifest() {
    let mut scene = Scene::new();
    scene.write("a.yaml", &yaml("a", "alice"));
    let me = rustix::process::geteuid().as_raw();
    let other = Folder::new(scene.folder.path(), Arc::new(Catalog::builtin())).of_user(me + 1);
    if me == 0 {
        // Root's are everybody's.
        scene.folder = other;
        assert_eq!(shown(&scene.folder.scan()), ["a=alice"]);
        std::os::unix::fs::chown(scene.path("a.yaml"), Some(4711), None).unwrap();
        let scan = scene.folder.scan();
        let message = &messages(&scene, &scan)[0];
        assert!(
            message.contains("it belongs to uid 4711, who could change it"),
            "{message}"
        );
    } else {
        scene.folder = other;
        assert_eq!(shown(&scene.folder.scan()), [""; 0]);
    }
}

#[test]
fn a_folder_that_others_may_write_is_not_followed() {
    let mut scene = Scene::new();
    scene.write("a.yaml", &yaml("a", "alice"));
    assert_eq!(shown(&scene.folder.scan()), ["a=alice"]);
    set_mode(scene.folder.path(), 0o777);
    scene.write("b.yaml", &yaml("b", "mallory"));
    fs::remove_file(scene.path("a.yaml")).unwrap();
    let scan = scene.folder.scan();
    assert_eq!(shown(&scan), ["a=alice"]);
    assert_eq!(
        messages(&scene, &scan),
        [
            "agents.d: the folder is not followed, because others than its owner may write it (mode 0777): run \
             `chmod go-w agents.d`; the agents that it declared (1) stay in force"
        ]
    );
    assert!(scene.folder.trouble().is_some());
    set_mode(scene.folder.path(), 0o755);
    assert_eq!(shown(&scene.folder.scan()), ["b=mallory"]);
}

#[test]
fn what_is_not_read_is_a_problem_that_is_named() {
    let mut scene = Scene::new();
    scene.write("a.YAML", &yaml("a", "alice"));
    fs::create_dir(scene.path("team")).unwrap();
    scene.write("team/b.yaml", &yaml("b", "bob"));
    let scan = scene.folder.scan();
    assert_eq!(shown(&scan), [""; 0]);
    let messages = messages(&scene, &scan);
    assert!(
        messages[0].starts_with("agents.d/a.YAML: it is not read"),
        "{messages:?}"
    );
    assert!(
        messages[1].starts_with("agents.d/team: what is in this folder is not read"),
        "{messages:?}"
    );
}

#[test]
fn a_change_that_shows_in_no_time_is_seen_when_the_file_is_read_once_more() {
    let mut scene = Scene::new();
    scene.write("a.yaml", &yaml("a", "alice"));
    scene.folder.scan();
    // As if it had been written again within the same tick of the file system's clock, and nobody told.
    scene.write("a.yaml", &yaml("a", "carol"));
    let stamp = Stamp::of(&fs::metadata(scene.path("a.yaml")).unwrap());
    scene.folder.entries.values_mut().next().unwrap().stamp = Some(stamp);
    for _ in 1..SETTLED {
        scene.folder.age();
        assert_eq!(shown(&scene.folder.scan()), ["a=alice"]);
    }
    scene.folder.age();
    assert_eq!(shown(&scene.folder.scan()), ["a=carol"]);
    // And then no more, however often it is looked at.
    for _ in 0..10 {
        scene.folder.age();
        assert!(scene.folder.entries.values().all(|entry| !entry.distrusted));
    }
}
