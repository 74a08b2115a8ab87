//! What the daemon may do on its node: what it needs, whatever it was started with.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
};

use crate::support::{AGENT_UID, Daemon, Emulator, is_root, wait_until};

const SEND: &str = "google.gmail.send";
/// `CAP_CHOWN` and `CAP_NET_BIND_SERVICE` as bits.
const CHOWN: u64 = 1;
const NET_BIND_SERVICE: u64 = 1 << 10;
/// The daemon's user and a group that only its pod has, where it is not root.
const DAEMON: u32 = 4990;
const GROUP: u32 = 64_990;

/// Inheritable, permitted, effective, bounding and ambient capabilities, and whether programs bring others.
fn privileges(status: &str) -> [u64; 6] {
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"].map(|name| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    })
}

/// Those of all threads.
fn of_threads(daemon: &Daemon) -> BTreeSet<[u64; 6]> {
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let statuses =
        threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).ok());
    statuses.map(|status| privileges(&status)).collect()
}

/// A key that a program prints, which notes what it may do.
fn key_program(daemon: &Daemon) -> (String, std::path::PathBuf) {
    let (program, noted) = ["fetch-key", "noted"]
        .map(|name| daemon.config_dir().join(name))
        .into();
    let script = format!(
        "#!/bin/sh\n{{ cat /proc/self/status; env; ls -l /proc/self/fd; }} >{}\nexec cat {}\n",
        noted.display(),
        daemon.key_file().display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
    (format!("command:{}", program.display()), noted)
}

#[test]
fn root_keeps_what_agents_files_take_and_nothing_else() {
    let google = Emulator::start(&["--token-lifetime", "10s"]);
    let mut daemon = Daemon::new(&google);
    let (source, noted) = key_program(&daemon);
    daemon
        .environment
        .push(("TOKEN_BROKER_KEY_SOURCE".to_owned(), source));
    let secret = ("SECRET_OF_ANOTHER".to_owned(), "CANARY".to_owned());
    daemon.environment.push(secret);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    let agent = daemon.wait_for_state("bot", "active");
    let kept = [0, CHOWN, CHOWN, CHOWN, 0, 1];
    assert_eq!(of_threads(&daemon), [kept].into());
    let noted = fs::read_to_string(noted).unwrap();
    assert_eq!(privileges(&noted), [0, 0, 0, CHOWN, 0, 1], "of what it starts");
    assert!(
        !noted.contains("CANARY") && !noted.contains("TOKEN_BROKER"),
        "{noted}"
    );
    assert!(noted.contains("PATH="), "{noted}");
    let open = noted.lines().filter(|line| line.contains(" -> ")).count();
    assert_eq!(open, 4, "its three, and that of the listing: {noted}");

    // And that is enough: for a renewal, a new owner, a restart on what is there, and a removal.
    let first = agent.token().unwrap();
    daemon.wait_for_token("bot", Some(&first));
    let owner = || {
        fs::metadata(agent.path("env"))
            .map(|file| file.uid())
            .unwrap_or_default()
    };
    assert_eq!(owner(), AGENT_UID);
    let manifest = daemon.agents_d().join("bot.yaml");
    let text = fs::read_to_string(&manifest).unwrap();
    daemon.put_file("bot", &text.replace(&AGENT_UID.to_string(), "64321"));
    crate::support::wait_until("another owner", || owner() == 64_321);
    daemon.restart();
    let agent = daemon.wait_for_state("bot", "active");
    fs::remove_file(manifest).unwrap();
    crate::support::wait_until("the agent to go", || !agent.directory.exists());
}

#[test]
fn a_port_below_1024_is_bound() {
    let google = Emulator::start(&[]);
    // An address of this test's own, so that nobody else has the port.
    let daemon = Daemon::with(&google, &[("http_listen", "127.83.71.3:84")]);
    daemon.start();
    let kept = CHOWN | NET_BIND_SERVICE;
    assert_eq!(of_threads(&daemon), [[0, kept, kept, kept, 0, 1]].into());
}

#[test]
fn an_ordinary_user_has_nothing_to_give_up_and_reads_what_its_group_alone_may() {
    let google = Emulator::start(&[]);
    let mut daemon = Daemon::new(&google);
    let own = |path: &Path, mode: u32, gid: u32| {
        chown(path, Some(0), Some(gid)).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    own(&daemon.config_dir(), 0o755, 0);
    own(&daemon.config_file(), 0o644, 0);
    // As the kubelet mounts a Secret for a pod with this fsGroup.
    let secrets = [daemon.key_file(), daemon.config_dir().join("client_secret")];
    for secret in &secrets {
        own(secret, 0o440, GROUP);
    }
    for folder in [daemon.state_dir(), daemon.runtime_dir()] {
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o711)).unwrap();
        chown(&folder, Some(DAEMON), Some(DAEMON)).unwrap();
    }
    fs::set_permissions(daemon.state_dir(), Permissions::from_mode(0o700)).unwrap();
    let launcher = format!("setpriv --reuid {DAEMON} --regid {DAEMON} --groups {GROUP} --");
    daemon.launcher = launcher.split(' ').map(str::to_owned).collect();
    let text = crate::support::manifest("bot", "alice", &[SEND]);
    daemon.put_file("bot", &text.replace(&AGENT_UID.to_string(), &DAEMON.to_string()));
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("bot", "active");
    for [inheritable, permitted, effective, _, ambient, no_new] in of_threads(&daemon) {
        assert_eq!(
            [inheritable, permitted, effective, ambient, no_new],
            [0, 0, 0, 0, 1]
        );
    }
    // A group that it is not in alone could as well be everybody.
    assert_eq!(daemon.terminate(), 0);
    own(&secrets[0], 0o440, 0);
    let launcher = format!("setpriv --reuid {DAEMON} --regid {DAEMON} --groups 0 --");
    daemon.launcher = launcher.split(' ').map(str::to_owned).collect();
    let refused = daemon.try_start().unwrap_err();
    assert!(
        refused.stderr.contains("open to others than its owner"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_runtime_directory_of_another_user_is_refused_with_both_users_and_what_to_do() {
    if !is_root() {
        return;
    }
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    fs::create_dir(daemon.runtime_dir()).unwrap();
    std::os::unix::fs::chown(daemon.runtime_dir(), Some(4711), Some(4711)).unwrap();
    let refused = daemon.try_start().unwrap_err();
    let run = daemon.runtime_dir();
    let sentence = format!(
        "{} belongs to uid 4711, but the daemon runs as uid 0",
        run.display()
    );
    assert!(refused.stderr.contains(&sentence), "{}", refused.stderr);
    assert!(refused.stderr.contains("chown 0 "), "{}", refused.stderr);
}

#[test]
fn a_directory_that_an_agent_made_its_own_is_taken_back() {
    if !is_root() {
        return;
    }
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    let bot = daemon.wait_for_state("bot", "active");
    let make_own = |path: &std::path::Path| {
        std::os::unix::fs::chown(path, Some(4711), Some(4711)).unwrap();
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    };
    // As its root in the container may: the daemon has no right to pass there.
    make_own(&bot.directory);
    wait_until("the directory to be taken back", || {
        let found = fs::metadata(&bot.directory).unwrap();
        (found.uid(), found.mode() & 0o7777) == (0, 0o755)
    });
    fs::create_dir_all(bot.path("deep/deeper")).unwrap();
    fs::write(bot.path("deep/deeper/file"), "").unwrap();
    for path in ["deep/deeper", "deep", ""] {
        make_own(&bot.path(path));
    }
    fs::remove_file(daemon.agents_d().join("bot.yaml")).unwrap();
    wait_until("nothing to be left of the agent", || {
        fs::read_dir(daemon.runtime_dir().join("agents")).unwrap().count() == 0
    });
    assert!(
        !daemon.log().contains("cannot all be removed"),
        "{}",
        daemon.log()
    );
}
