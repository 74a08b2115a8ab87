//! The systemd unit, as far as that shows without systemd in charge: the unit is one, and the daemon works with
//! the user, the privileges and the credentials that it gets there.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::Command,
};

use crate::support::{AGENT_UID, Daemon, Emulator, Output};

const UNIT: &str = include_str!("../../deploy/systemd/token-broker.service");
const SEND: &str = "google.gmail.send";
/// The daemon's user.
const DAEMON: u32 = 4990;

/// The values of a setting, in their order.
fn setting(name: &str) -> impl Iterator<Item = &str> {
    UNIT.lines()
        .filter_map(move |line| line.strip_prefix(name)?.strip_prefix('='))
}

#[test]
fn the_unit_is_one_that_systemd_takes_and_finds_hardened() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("token-broker.service");
    let text = UNIT.replace("/usr/local/bin/token-broker", env!("CARGO_BIN_EXE_token-broker"));
    fs::write(&unit, text).unwrap();
    let analyze = |args: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        Output::of(command.args(args).arg(&unit)).expect_ok()
    };
    let verified = analyze(&["verify", "--man=no", "--generators=no"]);
    assert_eq!(verified.stderr, "");
    analyze(&["security", "--offline=yes", "--no-pager", "--threshold=20"]);
}

#[test]
fn the_daemon_works_with_what_the_unit_gives_it() {
    let google = Emulator::start(&[]);
    let mut daemon = Daemon::new(&google);
    let credentials = tempfile::tempdir().unwrap();
    fs::set_permissions(credentials.path(), Permissions::from_mode(0o711)).unwrap();
    for credential in setting("LoadCredential") {
        let (name, source) = credential.split_once(':').unwrap();
        let source = daemon.config_dir().join(Path::new(source).file_name().unwrap());
        let copy = credentials.path().join(name);
        fs::copy(source, &copy).unwrap();
        // The mode of a file with an access list shows what the list allows at most.
        chown(&copy, Some(0), Some(DAEMON)).unwrap();
        fs::set_permissions(&copy, Permissions::from_mode(0o440)).unwrap();
    }
    let in_credentials = credentials.path().to_str().unwrap();
    daemon
        .environment
        .push(("CREDENTIALS_DIRECTORY".to_owned(), in_credentials.to_owned()));
    for variable in setting("Environment") {
        let (name, value) = variable.split_once('=').unwrap();
        let value = value.replace("%d", in_credentials);
        daemon.environment.push((name.to_owned(), value));
    }
    for (folder, mode) in [(daemon.state_dir(), 0o700), (daemon.runtime_dir(), 0o711)] {
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        chown(&folder, Some(DAEMON), Some(DAEMON)).unwrap();
    }
    daemon.launcher = with_privileges(setting("AmbientCapabilities").next().unwrap());
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.write_manifest("bot", "alice", &[SEND]);
    let agent = daemon.wait_for_state("bot", "active");
    for (file, mode) in [("env", 0o400), ("access_token", 0o400), ("broker.sock", 0o600)] {
        let metadata = fs::metadata(agent.path(file)).unwrap();
        assert_eq!(
            (metadata.uid(), metadata.mode() & 0o777),
            (AGENT_UID, mode),
            "{file}"
        );
    }
    let directory = |daemon: &Daemon| fs::metadata(daemon.agent("bot").path("")).unwrap().ino();
    let mounted = directory(&daemon);
    let token = agent.token().unwrap();
    daemon.restart();
    assert_eq!(directory(&daemon), mounted, "containers have it mounted");
    assert_eq!(daemon.wait_for_token("bot", None), token);
    daemon.cli(&["doctor"]).expect_ok();
    // The files are the agent's, and can be taken away all the same.
    daemon
        .cli(&["integrations", "disconnect", "--owner", "alice", "--yes"])
        .expect_ok();
    assert_eq!(
        agent.variable("TOKEN_BROKER_STATE").as_deref(),
        Some("not_connected")
    );
    assert!(!agent.path("access_token").exists());
}

/// What starts a program with nothing but these capabilities, as `AmbientCapabilities` and `User` do.
fn with_privileges(capabilities: &str) -> Vec<String> {
    let names = capabilities
        .split(' ')
        .map(|name| name.strip_prefix("CAP_").unwrap());
    let set = names.fold("-all".to_owned(), |set, name| {
        format!("{set},+{}", name.to_lowercase())
    });
    let words = format!(
        "setpriv --reuid {DAEMON} --regid {DAEMON} --clear-groups --no-new-privs --bounding-set {set} \
         --inh-caps {set} --ambient-caps {set} --"
    );
    words.split(' ').map(str::to_owned).collect()
}
