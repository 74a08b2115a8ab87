//! What a container is made of: an image that all share, and a bundle of its own (OCI runtime specification).

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Where an agent's directory is inside.
pub(crate) const MOUNT: &str = "/run/token-broker";

/// A root file system: busybox with its commands, our program, and places to mount on.
pub(crate) struct Image(TempDir);

impl Image {
    /// The image; made by whoever comes first, removed by whoever goes last.
    pub(crate) fn shared() -> Arc<Self> {
        static IMAGE: Mutex<Weak<Image>> = Mutex::new(Weak::new());
        let mut image = IMAGE.lock().unwrap_or_else(PoisonError::into_inner);
        image.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Self::make());
            *image = Arc::downgrade(&made);
            made
        })
    }

    fn make() -> Self {
        let folder = open_folder();
        for name in ["bin", "app", "dev", "etc", "proc", "tmp", "run/token-broker"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        // Kept by what is mounted there.
        fs::set_permissions(folder.path().join("tmp"), Permissions::from_mode(0o1777)).unwrap();
        let null = folder.path().join("dev/null");
        let made = Command::new("mknod")
            .args(["--mode=666"])
            .arg(null)
            .args(["c", "1", "3"])
            .status();
        assert!(made.unwrap().success(), "device nodes can be made");
        let bin = folder.path().join("bin");
        let busybox = installed("TOKEN_BROKER_TEST_BUSYBOX", "/bin/busybox");
        fs::copy(&busybox, bin.join("busybox")).unwrap();
        let commands = Command::new(&busybox).arg("--list").output().unwrap();
        for name in String::from_utf8(commands.stdout).unwrap().lines() {
            if name != "busybox" {
                symlink("busybox", bin.join(name)).unwrap();
            }
        }
        let program = installed("TOKEN_BROKER_TEST_STATIC", "target/static/debug/token-broker");
        fs::copy(program, bin.join("token-broker")).unwrap();
        for file in ["app/env", "etc/hosts"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// What `tests/run` installed or built.
#[track_caller]
fn installed(variable: &str, usually: &str) -> PathBuf {
    let usually = Path::new(env!("CARGO_MANIFEST_DIR")).join(usually);
    let path = std::env::var_os(variable).map_or(usually, PathBuf::from);
    assert!(path.exists(), "{} is not there: run tests/run", path.display());
    path
}

/// A folder that other users pass through: a container's root may be one of them.
pub(crate) fn open_folder() -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix("token-broker-")
        .tempdir()
        .unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

/// What is to be run, and how.
pub(crate) struct Bundle {
    /// The command with its arguments.
    pub(crate) command: Vec<String>,
    /// Its user and group, as the container sees them.
    pub(crate) uid: u32,
    /// What is mounted read-only: where from, and where.
    pub(crate) mounts: Vec<(PathBuf, String)>,
    /// Folders of programs and libraries, mounted where they are on the node.
    pub(crate) programs: Vec<PathBuf>,
    /// A folder that a pod's containers share: where it is mounted, and the group that it is for.
    pub(crate) shared: Option<(PathBuf, String, u32)>,
    /// The network namespace to join instead of one of its own: another container's, as in a pod.
    pub(crate) network: Option<PathBuf>,
    /// In a user namespace: which uid of the node its root is.
    pub(crate) root_is: Option<u32>,
}

impl Bundle {
    /// `config.json`.
    pub(crate) fn config(&self, image: &Image) -> Value {
        let namespaces = ["pid", "mount", "ipc", "uts", "network"];
        let user = self.root_is.map(|_| "user");
        let namespaces: Vec<Value> = namespaces
            .into_iter()
            .chain(user)
            .map(|kind| match &self.network {
                Some(path) if kind == "network" => json!({ "type": kind, "path": path }),
                _ => json!({ "type": kind }),
            })
            .collect();
        let groups: Vec<u32> = self.shared.iter().map(|(.., group)| *group).collect();
        let mut linux = json!({ "namespaces": namespaces });
        if self.network.is_none() {
            // As container engines have it: the network is the container's own.
            linux["sysctl"] = json!({ "net.ipv4.ip_unprivileged_port_start": "0" });
        }
        if let Some(host) = self.root_is {
            let mapping = json!([{ "containerID": 0, "hostID": host, "size": 65536 }]);
            linux["uidMappings"] = mapping.clone();
            linux["gidMappings"] = mapping;
        }
        json!({
            "ociVersion": "1.0.2",
            "hostname": "agent",
            "process": {
                "user": { "uid": self.uid, "gid": self.uid, "additionalGids": groups },
                "args": self.command,
                "env": ["PATH=/bin"],
                "cwd": "/",
                "noNewPrivileges": true,
            },
            "root": { "path": image.path(), "readonly": true },
            "mounts": self.all_mounts(image),
            "linux": linux,
        })
    }

    fn all_mounts(&self, image: &Image) -> Vec<Value> {
        let devices = if self.root_is.is_some() {
            // runc would take the node's own, which need not be for everybody.
            json!({ "destination": "/dev", "type": "bind", "source": image.path().join("dev"), "options": ["bind", "ro"] })
        } else {
            json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] })
        };
        let mut mounts = vec![
            json!({ "destination": "/proc", "type": "proc", "source": "proc" }),
            devices,
            json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=1777"] }),
        ];
        mounts.extend(self.mounts.iter().map(|(source, destination)| {
            // As `-v SOURCE:DESTINATION:ro` has it.
            let options = ["bind", "ro", "rprivate", "nosuid", "nodev", "noexec"];
            json!({ "destination": destination, "type": "bind", "source": source, "options": options })
        }));
        mounts.extend(self.shared.iter().map(|(source, destination, _)| {
            let options = ["bind", "rw", "rprivate", "nosuid", "nodev", "noexec"];
            json!({ "destination": destination, "type": "bind", "source": source, "options": options })
        }));
        mounts.extend(self.programs.iter().map(|folder| {
            let options = ["bind", "ro", "rprivate", "nosuid", "nodev"];
            json!({ "destination": folder, "type": "bind", "source": folder, "options": options })
        }));
        mounts
    }
}
