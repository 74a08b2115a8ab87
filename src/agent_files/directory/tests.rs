use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, symlink},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use super::*;
use crate::{
    agent_files::{error::DeliveryError, runtime::Runtime},
    testing::{in_memory, is_root, name},
};

const PLAIN: Owner = Owner { uid: None, gid: None };
const FOREIGN: Owner = Owner {
    uid: Some(4711),
    gid: None,
};

fn keys() -> RandomState {
    RandomState::new()
}

fn open(runtime: &Runtime, owner: Owner) -> AgentDir {
    let dir = runtime.agent(&name("a"), owner).unwrap();
    dir.assert_ownership().unwrap();
    dir
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn modes_are_as_promised() {
    let temp = in_memory();
    let root = temp.path().join("deep/runtime");
    let runtime = Runtime::open(&root).unwrap();
    open(&runtime, PLAIN)
        .write(Entry::Env, b"A=1\n", &keys())
        .unwrap();
    assert_eq!(mode(&root), 0o711);
    assert_eq!(mode(&root.join("agents")), 0o711);
    assert_eq!(mode(&root.join("agents/a")), 0o755);
    assert_eq!(mode(&root.join("agents/a/env")), 0o400);
    assert_eq!(fs::read(root.join("agents/a/env")).unwrap(), b"A=1\n");
    assert_eq!(fs::read_dir(root.join("agents/a")).unwrap().count(), 1);
}

#[test]
fn one_daemon_at_a_time_has_the_runtime_directory() {
    let temp = in_memory();
    let runtime = Runtime::open(temp.path()).unwrap();
    let error = Runtime::open(temp.path()).err().unwrap().to_string();
    assert!(
        error.starts_with("another token-broker is running on the runtime directory"),
        "{error}"
    );
    drop(runtime);
    Runtime::open(temp.path()).unwrap();
}

#[test]
fn a_group_may_read() {
    let temp = in_memory();
    let runtime = Runtime::open(temp.path()).unwrap();
    let gid = rustix::process::getegid().as_raw();
    let owner = Owner {
        uid: None,
        gid: Some(gid),
    };
    open(&runtime, owner).write(Entry::Env, b"", &keys()).unwrap();
    assert_eq!(mode(&temp.path().join("agents/a")), 0o750);
    assert_eq!(mode(&temp.path().join("agents/a/env")), 0o440);
}

#[test]
fn ownership_and_mode_are_asserted_again_at_each_write() {
    if !is_root() {
        return;
    }
    let temp = in_memory();
    let runtime = Runtime::open(temp.path()).unwrap();
    let owner = Owner {
        uid: Some(4711),
        gid: Some(4712),
    };
    let (dir, env) = (temp.path().join("agents/a"), temp.path().join("agents/a/env"));
    let check = || {
        let (d, e) = (fs::metadata(&dir).unwrap(), fs::metadata(&env).unwrap());
        assert_eq!((d.uid(), d.gid(), d.mode() & 0o7777), (0, 4712, 0o750));
        assert_eq!((e.uid(), e.gid(), e.mode() & 0o7777), (4711, 4712, 0o440));
    };
    open(&runtime, owner).write(Entry::Env, b"1", &keys()).unwrap();
    check();
    std::os::unix::fs::chown(&dir, Some(4711), Some(0)).unwrap();
    std::os::unix::fs::chown(&env, Some(1), Some(1)).unwrap();
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    fs::set_permissions(&env, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    open(&runtime, owner).write(Entry::Env, b"2", &keys()).unwrap();
    check();
}

#[test]
fn another_user_can_read_neither_file_nor_names_of_agents() {
    if !is_root() {
        return;
    }
    let temp = in_memory();
    let runtime = Runtime::open(&temp.path().join("run")).unwrap();
    fs::set_permissions(temp.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    open(&runtime, FOREIGN)
        .write(Entry::Env, b"A=1\n", &keys())
        .unwrap();
    let env = temp.path().join("run/agents/a/env");
    let as_user = |uid: &str, program: &str, path: &Path| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", uid, "--regid", uid, "--clear-groups", program]);
        command.arg(path).output().unwrap().status.success()
    };
    assert!(as_user("4711", "cat", &env));
    assert!(!as_user("4999", "cat", &env));
    assert!(!as_user("4711", "ls", &temp.path().join("run/agents")));
}

#[test]
fn a_planted_link_redirects_nothing() {
    let temp = in_memory();
    let runtime = Runtime::open(temp.path()).unwrap();
    let dir = open(&runtime, PLAIN);
    let victim = temp.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let inside = temp.path().join("agents/a");
    for planted in ["env", ".env.new"] {
        symlink(&victim, inside.join(planted)).unwrap();
        dir.write(Entry::Env, b"A=1\n", &keys()).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        let file = fs::symlink_metadata(inside.join("env")).unwrap();
        assert!(file.is_file());
        assert!(!inside.join(".env.new").exists());
        fs::remove_file(inside.join("env")).unwrap();
    }
}

#[test]
fn a_hard_link_is_not_written_through() {
    let temp = in_memory();
    let runtime = Runtime::open(temp.path()).unwrap();
    let victim = temp.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let dir = open(&runtime, PLAIN);
    for planted in ["env", ".env.new"] {
        fs::hard_link(&victim, temp.path().join("agents/a").join(planted)).unwrap();
        dir.write(Entry::Env, b"A=1\n", &keys()).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        dir.remove(Entry::Env).unwrap();
    }
}

#[test]
fn directories_and_pipes_in_the_way_are_replaced() {
    let temp = in_memory();
    let runtime = Runtime::open(temp.path()).unwrap();
    let dir = open(&runtime, PLAIN);
    let inside = temp.path().join("agents/a");
    for planted in ["env", ".env.new"] {
        fs::create_dir_all(inside.join(planted).join("deep/er")).unwrap();
        dir.write(Entry::Env, b"A=1\n", &keys()).unwrap();
        dir.remove(Entry::Env).unwrap();
        let made = Command::new("mkfifo").arg(inside.join(planted)).status().unwrap();
        assert!(made.success());
        dir.write(Entry::Env, b"A=2\n", &keys()).unwrap();
        assert_eq!(fs::read(inside.join("env")).unwrap(), b"A=2\n");
        dir.remove(Entry::Env).unwrap();
    }
    assert_eq!(fs::read_dir(&inside).unwrap().count(), 0);
}

#[test]
fn a_directory_that_was_exchanged_for_a_link_is_made_anew() {
    let temp = in_memory();
    let runtime = Runtime::open(temp.path()).unwrap();
    let elsewhere = temp.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, temp.path().join("agents/a")).unwrap();
    let dir = open(&runtime, PLAIN);
    assert!(dir.was_made());
    dir.write(Entry::Env, b"A=1\n", &keys()).unwrap();
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    assert!(temp.path().join("agents/a").symlink_metadata().unwrap().is_dir());
}

#[test]
fn an_agents_directory_that_is_a_link_is_refused() {
    let temp = in_memory();
    let elsewhere = temp.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, temp.path().join("agents")).unwrap();
    assert!(matches!(
        Runtime::open(temp.path()),
        Err(DeliveryError::RuntimeDir { .. })
    ));
}

#[test]
fn an_agents_directory_of_somebody_else_is_refused() {
    if !is_root() {
        return;
    }
    let temp = in_memory();
    fs::create_dir(temp.path().join("agents")).unwrap();
    std::os::unix::fs::chown(temp.path().join("agents"), Some(4711), None).unwrap();
    let error = Runtime::open(temp.path()).err().unwrap().to_string();
    assert!(
        error.contains("belongs to uid 4711, but the daemon runs as uid 0"),
        "{error}"
    );
}

#[test]
fn a_reader_never_sees_a_torn_or_missing_file() {
    let temp = in_memory();
    let runtime = Runtime::open(temp.path()).unwrap();
    let dir = open(&runtime, PLAIN);
    let text = |fill: char| format!("A={}\n", fill.to_string().repeat(9000));
    let contents = [text('a'), text('b')];
    dir.write(Entry::Env, contents[0].as_bytes(), &keys()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = [0_u32; 2];
            while !done.load(Ordering::Relaxed) || seen.contains(&0) {
                let read = fs::read_to_string(temp.path().join("agents/a/env")).unwrap();
                let which = contents.iter().position(|content| *content == read);
                seen[which.expect("a whole file")] += 1;
            }
        });
        for round in 0..3000 {
            dir.write(Entry::Env, contents[round % 2].as_bytes(), &keys())
                .unwrap();
        }
        // The reader ends once it has seen both, so keep going until then.
        done.store(true, Ordering::Relaxed);
        let mut round = 0;
        while !reader.is_finished() {
            dir.write(Entry::Env, contents[round % 2].as_bytes(), &keys())
                .unwrap();
            round += 1;
        }
    });
}

#[test]
fn a_full_file_system_leaves_the_old_file_and_no_other() {
    let temp = in_memory();
    let Some(_mounted) = crate::testing::small_tmpfs(temp.path(), "64k") else {
        return;
    };
    let runtime = Runtime::open(temp.path()).unwrap();
    let dir = open(&runtime, PLAIN);
    dir.write(Entry::Env, b"A=1\n", &keys()).unwrap();
    fs::write(temp.path().join("filler"), vec![0; 1 << 20]).unwrap_err();
    let error = dir.write(Entry::Env, b"A=2\n", &keys()).unwrap_err();
    assert!(matches!(
        error,
        FileError::Os {
            error: Errno::NOSPC,
            ..
        }
    ));
    let inside = temp.path().join("agents/a");
    assert_eq!(fs::read(inside.join("env")).unwrap(), b"A=1\n");
    assert_eq!(fs::read_dir(&inside).unwrap().count(), 1);
}

#[test]
fn removal_takes_everything() {
    let temp = in_memory();
    let runtime = Runtime::open(temp.path()).unwrap();
    let dir = open(&runtime, PLAIN);
    dir.write(Entry::Env, b"A=1\n", &keys()).unwrap();
    fs::create_dir_all(temp.path().join("agents/a/junk/more")).unwrap();
    symlink("/etc", temp.path().join("agents/a/junk/etc")).unwrap();
    runtime.remove(&name("a")).unwrap();
    assert!(!temp.path().join("agents/a").exists());
    assert!(runtime.takes_trash() && !runtime.sweep().unwrap());
    assert_eq!(fs::read_dir(temp.path().join("agents")).unwrap().count(), 0);
    assert!(Path::new("/etc").is_dir());
    runtime.remove(&name("a")).unwrap();
    // Whoever still has the directory open finds nothing in it.
    assert!(dir.write(Entry::Env, b"", &keys()).is_err());
}

#[test]
fn a_socket_is_not_mistaken_for_a_file() {
    let temp = in_memory();
    let runtime = Runtime::open(temp.path()).unwrap();
    let dir = open(&runtime, PLAIN);
    let path = temp.path().join("agents/a/env");
    let _planted = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(path.symlink_metadata().unwrap().file_type().is_socket());
    dir.write(Entry::Env, b"A=1\n", &keys()).unwrap();
    assert!(path.symlink_metadata().unwrap().is_file());
}
