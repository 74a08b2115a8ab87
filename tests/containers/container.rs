//! A container that runs.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use tempfile::TempDir;

use crate::{
    bundle::{Bundle, Image, MOUNT, open_folder},
    support::{AGENT_UID, Agent, Output, wait_for, wait_until},
};

/// A container of an agent; killed and removed with this value.
pub(crate) struct Container {
    folder: TempDir,
    process: Child,
    _image: Arc<Image>,
}

/// A container to be.
pub(crate) struct Builder(Bundle);

impl Builder {
    /// With one file mounted by itself.
    pub(crate) fn mount(mut self, source: PathBuf, destination: &str) -> Self {
        self.0.mounts.push((source, destination.to_owned()));
        self
    }

    /// With a folder of programs and libraries, where it is on the node.
    pub(crate) fn program(mut self, folder: &Path) -> Self {
        self.0.programs.push(folder.to_owned());
        self
    }

    /// In a pod: with what its containers share, a folder for this group.
    pub(crate) fn shares(mut self, folder: &Path, group: u32) -> Self {
        self.0.shared = Some((folder.to_owned(), MOUNT.to_owned(), group));
        self
    }

    /// In the pod of another container: in its network.
    pub(crate) fn beside(mut self, other: &Container) -> Self {
        self.0.network = Some(other.network_path());
        self
    }

    /// Under another uid.
    pub(crate) fn uid(mut self, uid: u32) -> Self {
        self.0.uid = uid;
        self
    }

    /// In a user namespace whose root is this uid of the node.
    pub(crate) fn root_is(mut self, host: u32) -> Self {
        self.0.root_is = Some(host);
        self
    }

    /// Runs it.
    pub(crate) fn start(self) -> Container {
        let image = Image::shared();
        let folder = open_folder();
        let config = self.0.config(&image).to_string();
        fs::write(folder.path().join("config.json"), config).unwrap();
        let file = |name| File::create(folder.path().join(name)).unwrap();
        let process = runc(folder.path())
            .args(["run", "--bundle"])
            .arg(folder.path())
            .arg(id(folder.path()))
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap_or_else(|error| panic!("runc: {error}: run tests/run"));
        Container {
            folder,
            process,
            _image: image,
        }
    }
}

/// `runc` with a state of this container's own.
fn runc(folder: &Path) -> Command {
    let mut command = Command::new("runc");
    command.arg("--root").arg(folder.join("state"));
    command
}

/// Its name, which its control group has as well: no other container's.
fn id(folder: &Path) -> &OsStr {
    folder.file_name().unwrap()
}

impl Container {
    fn id(&self) -> &OsStr {
        id(self.folder.path())
    }

    /// A container of `agent`, under the uid of the tests' manifests, with its directory where it belongs.
    pub(crate) fn of(agent: &Agent, command: &[&str]) -> Builder {
        Self::without_mount(command).mount(agent.directory.clone(), MOUNT)
    }

    /// The same without the directory.
    pub(crate) fn without_mount(command: &[&str]) -> Builder {
        Builder(Bundle {
            command: command.iter().map(ToString::to_string).collect(),
            uid: AGENT_UID,
            mounts: Vec::new(),
            programs: Vec::new(),
            shared: None,
            network: None,
            root_is: None,
        })
    }

    /// A container of `agent` that does nothing but be there.
    pub(crate) fn idle(agent: &Agent) -> Builder {
        Self::of(agent, &["sleep", "infinity"])
    }

    /// What it has written so far.
    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).unwrap()
    }

    /// What it has said so far.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }

    /// Waits until it has written so many whole lines; returns all.
    #[track_caller]
    pub(crate) fn wait_for_lines(&self, least: usize) -> Vec<String> {
        self.wait_for_output(&format!("{least} lines"), |text| {
            text.matches('\n').count() >= least
        })
    }

    /// Waits until what it has written fits; returns its lines.
    #[track_caller]
    pub(crate) fn wait_for_output(&self, what: &str, fits: impl Fn(&str) -> bool) -> Vec<String> {
        let text = wait_for(&format!("a container to write {what}"), || {
            let text = self.stdout();
            fits(&text).then_some(text)
        });
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until it has said something like this.
    #[track_caller]
    pub(crate) fn wait_for_stderr(&self, part: &str) {
        wait_until(&format!("a container to say {part}"), || {
            self.stderr().contains(part)
        });
    }

    /// Runs one more command inside, under the container's own user.
    pub(crate) fn exec(&self, command: &[&str]) -> Output {
        self.exec_with(&[], command)
    }

    /// The same under another uid.
    pub(crate) fn exec_as(&self, uid: u32, command: &[&str]) -> Output {
        self.exec_with(&["--user", &format!("{uid}:{uid}")], command)
    }

    fn exec_with(&self, options: &[&str], command: &[&str]) -> Output {
        self.wait_until_running();
        let mut exec = runc(self.folder.path());
        exec.arg("exec").args(options).arg(self.id()).args(command);
        Output::of(exec.stdin(Stdio::null()))
    }

    /// Waits until `runc` says that it runs.
    pub(crate) fn wait_until_running(&self) {
        self.running();
    }

    fn running(&self) -> serde_json::Value {
        wait_for("a container to run", || {
            let state = Output::of(runc(self.folder.path()).arg("state").arg(self.id()));
            let running = state.code == 0 && state.json()["status"] == "running";
            running.then(|| state.json())
        })
    }

    /// Its network namespace.
    pub(crate) fn network(&self) -> File {
        File::open(self.network_path()).unwrap()
    }

    fn network_path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.running()["pid"]).into()
    }

    /// Sends a signal to its first process.
    pub(crate) fn kill(&self, signal: &str) {
        Output::of(runc(self.folder.path()).arg("kill").arg(self.id()).arg(signal)).expect_ok();
    }

    /// Waits for its end; returns the exit code.
    pub(crate) fn wait(&mut self) -> i32 {
        let ended = wait_for("a container to end", || self.process.try_wait().unwrap());
        ended.code().unwrap_or(-1)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            use std::io::Write;
            let (out, err) = (self.stdout(), self.stderr());
            let _ = writeln!(
                std::io::stderr(),
                "--- a container wrote\n{out}--- and said\n{err}"
            );
        }
        let _ = runc(self.folder.path())
            .args(["delete", "--force"])
            .arg(self.id())
            .stderr(Stdio::null())
            .status();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
