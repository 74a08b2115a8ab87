//! A KMS plugin as a process, with its keys in a SoftHSM token of its own.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{installed, support::wait_until};

/// Where Debian has it, and where others may.
const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib/pkcs11/libsofthsm2.so",
];

/// A plugin with the key `key-1`; killed with this value.
pub(crate) struct Plugin {
    folder: TempDir,
    process: Option<Child>,
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.stop();
    }
}

fn module() -> &'static str {
    let found = MODULES.into_iter().find(|module| Path::new(module).exists());
    found.expect("SoftHSM is installed: run tests/run")
}

impl Plugin {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens");
        fs::create_dir(&tokens).unwrap();
        let config = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        fs::write(folder.path().join("softhsm2.conf"), config).unwrap();
        let mut plugin = Self {
            folder,
            process: None,
        };
        let init = [
            "--init-token",
            "--free",
            "--label",
            "kms",
            "--pin",
            "1234",
            "--so-pin",
            "5678",
        ];
        plugin.run("softhsm2-util", &init);
        plugin.make_key("key-1", "01");
        plugin.use_key("key-1");
        plugin.serve();
        plugin
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        command
    }

    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.command(program).args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}: run tests/run"));
        assert!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn tool(&self, arguments: &[&str]) {
        let login = [
            "--module",
            module(),
            "--token-label",
            "kms",
            "--login",
            "--pin",
            "1234",
        ];
        self.run("pkcs11-tool", &[&login, arguments].concat());
    }

    /// Has the token make a key.
    pub(crate) fn make_key(&self, label: &str, id: &str) {
        self.tool(&["--keygen", "--key-type", "aes:32", "--label", label, "--id", id]);
    }

    /// Has the token destroy a key.
    pub(crate) fn delete_key(&self, label: &str) {
        self.tool(&["--delete-object", "--type", "secrkey", "--label", label]);
    }

    /// Names the key that is in use from now on.
    pub(crate) fn use_key(&self, label: &str) {
        fs::write(self.path("current"), label).unwrap();
    }

    /// Whether the plugin says that its token is away.
    pub(crate) fn set_away(&self, is_away: bool) {
        if is_away {
            fs::write(self.path("down"), "").unwrap();
        } else {
            fs::remove_file(self.path("down")).unwrap();
        }
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts the plugin on its socket.
    pub(crate) fn serve(&mut self) {
        let _ = fs::remove_file(self.path("kms.sock"));
        let process = self
            .command(installed("kms-plugin"))
            .args(["-listen", &format!("unix://{}", self.path("kms.sock").display())])
            .args(["-module", module(), "-token", "kms", "-pin", "1234"])
            .arg("-key-file")
            .arg(self.path("current"))
            .arg("-down")
            .arg(self.path("down"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.path("log")).unwrap())
            .spawn()
            .unwrap();
        self.process = Some(process);
        // It is there before anybody listens on it.
        wait_until("the plugin to listen", || {
            UnixStream::connect(self.path("kms.sock")).is_ok()
        });
    }

    /// How the seal is named.
    pub(crate) fn source(&self) -> String {
        format!("kms:unix://{}", self.path("kms.sock").display())
    }
}
