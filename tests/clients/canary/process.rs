//! What the daemon's process keeps from others.

use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::support::{AGENT_UID, Emulator, Output, is_root, program_as, wait_until};

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a process of the same user can read another one's environment.
fn environment_is_open(process: &Running) -> bool {
    let mut cat = program_as(AGENT_UID, Path::new("/bin/cat"));
    let read = Output::of(cat.arg(format!("/proc/{}/environ", process.0.id())));
    read.code == 0
}

#[test]
fn neither_cores_nor_other_processes_of_its_user_see_its_memory() {
    assert!(is_root(), "this takes on another uid: run it as root");
    let google = Emulator::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let here = |name: &str| folder.path().join(name);
    fs::copy(env!("CARGO_BIN_EXE_token-broker"), here("token-broker")).unwrap();
    fs::write(here("client_secret"), &google.client_secret).unwrap();
    fs::set_permissions(here("client_secret"), Permissions::from_mode(0o600)).unwrap();
    for path in [folder.path(), &here("client_secret")] {
        chown(path, Some(AGENT_UID), Some(AGENT_UID)).unwrap();
    }
    let program = |args: &[&str]| {
        let mut command = program_as(AGENT_UID, &here("token-broker"));
        command.args(args).current_dir(folder.path());
        command
    };
    let base = format!("google.endpoint_base={}", google.base_url);
    let secret = format!("google.client_secret_file={}", here("client_secret").display());
    let mut init = program(&["init", "--config-dir", "config"]);
    init.args(["--set", &base, "--set", &secret]).args([
        "--set",
        "google.client_id=id",
        "--set",
        "http_listen=127.0.0.1:0",
    ]);
    Output::of(&mut init).expect_ok();
    let mut serve = program(&["--config", "config/config.toml", "serve"]);
    let serve = serve.stdout(Stdio::null()).stderr(Stdio::null());
    let daemon = Running(serve.spawn().unwrap());
    wait_until("the daemon to be ready", || {
        here("config/run/admin.sock").exists()
    });

    let mut sleep = Command::new("/bin/sleep");
    let sleep = Running(sleep.arg("600").uid(AGENT_UID).gid(AGENT_UID).spawn().unwrap());
    assert!(environment_is_open(&sleep), "no process would be");
    assert!(!environment_is_open(&daemon));
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.0.id())).unwrap();
    let cores = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    let cores: Vec<&str> = cores.unwrap().split_whitespace().collect();
    assert_eq!(cores, ["0", "0", "bytes"]);
}
