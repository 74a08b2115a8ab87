//! A master key that only a TPM opens: `systemd-creds` with `swtpm`, without a systemd that is the first process. What
//! `LoadCredentialEncrypted=` does before it starts a service, `key.source` does here with a command.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::support::{Daemon, Emulator, Output, wait_until};

/// A TPM of one's own; gone with this value.
struct Tpm {
    folder: TempDir,
    port: u16,
    process: Child,
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two ports in a row that nobody has: the second is the TPM's control channel.
fn ports() -> u16 {
    let bind = |port: u16| TcpListener::bind(("127.0.0.1", port));
    let mut free = (23_300..24_300_u16).step_by(2);
    free.find(|port| bind(*port).is_ok() && bind(port + 1).is_ok())
        .unwrap()
}

impl Tpm {
    fn new() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), ports());
        let channel = |port: u16| format!("type=tcp,port={port},bindaddr=127.0.0.1");
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate"])
            .arg(format!("dir={}", folder.path().display()))
            .args(["--server", &channel(port), "--ctrl", &channel(port + 1)])
            .args(["--flags", "not-need-init,startup-clear"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm is installed: run tests/run");
        wait_until("the TPM", || TcpStream::connect(("127.0.0.1", port + 1)).is_ok());
        Self {
            folder,
            port,
            process,
        }
    }

    /// As `systemd-creds` names it.
    fn device(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    fn encrypt(&self, plain: &Path, credential: &Path) {
        let mut encrypt = Command::new("systemd-creds");
        encrypt
            .args(["encrypt", "--with-key=tpm2", "--name=master.key"])
            .arg(format!("--tpm2-device={}", self.device()))
            .args([plain, credential]);
        Output::of(&mut encrypt).expect_ok();
    }
}

#[test]
fn a_master_key_opens_with_the_tpm_that_it_was_encrypted_with_and_no_other() {
    let (tpm, google) = (Tpm::new(), Emulator::start(&[]));
    let credential = tpm.folder.path().join("master.key.cred");
    let decrypt = format!(
        "command:systemd-creds decrypt --name=master.key {} -",
        credential.display()
    );
    let mut daemon = Daemon::with(
        &google,
        &[
            ("key.source", &decrypt),
            ("key.command_environment", "SYSTEMD_TPM2_DEVICE"),
        ],
    );
    tpm.encrypt(&daemon.key_file(), &credential);
    fs::remove_file(daemon.key_file()).unwrap();
    daemon.environment = vec![("SYSTEMD_TPM2_DEVICE".to_owned(), tpm.device())];
    daemon.start();
    daemon.cli(&["key", "rotate"]).expect_ok();
    daemon.cli(&["key", "verify"]).expect_ok();

    assert_eq!(daemon.terminate(), 0);
    let other = Tpm::new();
    daemon.environment = vec![("SYSTEMD_TPM2_DEVICE".to_owned(), other.device())];
    let refused = daemon.try_start().unwrap_err();
    assert_eq!(refused.code, 7, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("command:systemd-creds"),
        "{}",
        refused.stderr
    );
    daemon.environment = vec![("SYSTEMD_TPM2_DEVICE".to_owned(), tpm.device())];
    daemon.start();
    daemon.cli(&["key", "verify"]).expect_ok();
}
