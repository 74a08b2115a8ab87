//! The node, as the kubelet has it: its folder, its pods, and the calls that it makes.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use tempfile::TempDir;
use token_broker::proto::csi::{
    NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability,
    node_client::NodeClient,
    volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode},
};
use tonic::{Status, transport::Channel};

use crate::{
    kubernetes::{AUDIENCE, Kubernetes},
    support::{Agent, Daemon, Emulator, block_on, channel, manifest},
};

pub(crate) const SEND: &str = "google.gmail.send";
/// What the bot's manifest says of pods.
pub(crate) const BILLING: &str = "kubernetes: {namespace: billing, serviceAccount: invoice-bot}\n";

/// A node with a daemon on it.
pub(crate) struct Node {
    _google: Emulator,
    pub(crate) kubernetes: Kubernetes,
    pub(crate) daemon: Daemon,
    folder: TempDir,
    /// Whether the folder itself is a mount.
    shared: bool,
}

impl Drop for Node {
    fn drop(&mut self) {
        // What a test that failed left mounted would keep its folder from being removed.
        for target in mounts(self.folder.path()) {
            let _ = rustix::mount::unmount(&target, rustix::mount::UnmountFlags::DETACH);
        }
        if self.shared {
            let _ = rustix::mount::unmount(self.folder.path(), rustix::mount::UnmountFlags::DETACH);
        }
    }
}

/// A pod's volume, as the kubelet asks for it.
#[derive(Clone)]
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) target: PathBuf,
    pub(crate) attributes: HashMap<String, String>,
    pub(crate) fs_group: String,
    pub(crate) token: String,
}

impl Node {
    /// A daemon whose owner alice is connected, with the agent `invoice-bot` for pods of `billing/invoice-bot`.
    pub(crate) fn start() -> Self {
        let node = Self::prepare();
        node.allow("invoice-bot", BILLING);
        node.daemon.start();
        node.daemon.connect("alice", &[SEND]).expect_ok();
        node.daemon.wait_for_state("invoice-bot", "active");
        node
    }

    /// A daemon that does not run yet.
    pub(crate) fn prepare() -> Self {
        assert!(
            crate::support::is_root(),
            "mounting takes root: run tests/run as root"
        );
        let google = Emulator::start(&["--token-lifetime", "10s"]);
        let kubernetes = Kubernetes::start();
        let folder = tempfile::Builder::new().prefix("kubelet-").tempdir().unwrap();
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let settings = [
            ("csi.endpoint", path(&endpoint(folder.path()))),
            ("csi.registration", path(&registration(folder.path()))),
            ("kubernetes.node_name", "node-1".to_owned()),
            ("kubernetes.api_url", kubernetes.url()),
            ("kubernetes.api_ca_file", path(&kubernetes.ca_file())),
            ("kubernetes.api_token_file", path(&kubernetes.token_file())),
        ];
        let settings = settings.each_ref().map(|(key, value)| (*key, value.as_str()));
        let daemon = Daemon::with(&google, &settings);
        Self {
            _google: google,
            kubernetes,
            daemon,
            folder,
            shared: false,
        }
    }

    /// Lets what is mounted in the kubelet's folder spread, between the node and a daemon with mounts of its own.
    pub(crate) fn share(&mut self) {
        let folder = self.folder.path();
        rustix::mount::mount_bind(folder, folder).unwrap();
        self.shared = true;
        let shared = rustix::mount::MountPropagationFlags::SHARED;
        rustix::mount::mount_change(folder, shared).unwrap();
    }

    /// Writes the manifest of an agent of alice's, with `rest` in it.
    pub(crate) fn allow(&self, agent: &str, rest: &str) {
        self.daemon
            .put_file(agent, &(manifest(agent, "alice", &[SEND]) + rest));
    }

    /// The driver's socket.
    pub(crate) fn endpoint(&self) -> PathBuf {
        endpoint(self.folder.path())
    }

    /// Where the kubelet learns of it.
    pub(crate) fn registration(&self) -> PathBuf {
        registration(self.folder.path())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn channel(&self) -> Channel {
        channel(&self.endpoint())
    }

    /// A volume of the agent `invoice-bot`, for a new pod of `billing/invoice-bot`.
    pub(crate) fn volume(&self, pod: &str) -> Volume {
        self.volume_of(pod, "billing", "invoice-bot")
    }

    /// The same for a pod that runs as somebody else. The kubelet has made its folders, and noted that.
    pub(crate) fn volume_of(&self, pod: &str, namespace: &str, service_account: &str) -> Volume {
        let uid = format!("uid-of-{pod}");
        let folder = self
            .folder
            .path()
            .join("pods")
            .join(&uid)
            .join("volumes/kubernetes.io~csi/token");
        fs::create_dir_all(&folder).unwrap();
        let id = format!("csi-{pod}");
        let noted = json!({ "volumeHandle": id, "driverName": AUDIENCE, "volumeLifecycleMode": "Ephemeral" });
        fs::write(folder.join("vol_data.json"), noted.to_string()).unwrap();
        let attributes = [
            ("agent", "invoice-bot"),
            ("csi.storage.k8s.io/ephemeral", "true"),
            ("csi.storage.k8s.io/pod.name", pod),
            ("csi.storage.k8s.io/pod.namespace", namespace),
            ("csi.storage.k8s.io/pod.uid", &uid),
            ("csi.storage.k8s.io/serviceAccount.name", service_account),
        ];
        Volume {
            id,
            target: folder.join("mount"),
            attributes: attributes
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            fs_group: String::new(),
            token: self.kubernetes.issue(namespace, service_account, &uid, AUDIENCE),
        }
    }

    pub(crate) fn publish(&self, volume: &Volume) -> Result<(), Status> {
        block_on(publish(self.channel(), volume.clone()))
    }

    pub(crate) fn unpublish(&self, volume: &Volume) {
        block_on(unpublish(self.channel(), volume.clone())).unwrap();
    }

    /// What is mounted in the kubelet's folder.
    pub(crate) fn mounts(&self) -> Vec<PathBuf> {
        mounts(self.folder.path())
    }

    /// Reads the daemon's records of volumes.
    pub(crate) fn records(&self) -> usize {
        fs::read_dir(self.daemon.runtime_dir().join("volumes"))
            .unwrap()
            .count()
    }
}

impl Volume {
    /// What a container sees that has it mounted.
    pub(crate) fn seen(&self) -> Agent {
        Agent {
            name: "invoice-bot".to_owned(),
            directory: self.target.clone(),
        }
    }

    pub(crate) fn of_agent(mut self, agent: &str) -> Self {
        self.attributes.insert("agent".to_owned(), agent.to_owned());
        self
    }

    /// What the kubelet says about the volume.
    pub(crate) fn context(&self) -> HashMap<String, String> {
        let mut context = self.attributes.clone();
        let tokens =
            json!({ AUDIENCE: { "token": self.token, "expirationTimestamp": "2030-01-01T00:00:00Z" } });
        context.insert(
            "csi.storage.k8s.io/serviceAccount.tokens".to_owned(),
            tokens.to_string(),
        );
        context
    }

    fn request(self) -> NodePublishVolumeRequest {
        let context = self.context();
        NodePublishVolumeRequest {
            volume_id: self.id,
            target_path: self.target.to_str().unwrap().to_owned(),
            volume_capability: Some(VolumeCapability {
                access_mode: Some(AccessMode {
                    mode: Mode::SingleNodeWriter.into(),
                }),
                access_type: Some(AccessType::Mount(MountVolume {
                    volume_mount_group: self.fs_group,
                    ..MountVolume::default()
                })),
            }),
            volume_context: context,
            ..NodePublishVolumeRequest::default()
        }
    }
}

pub(crate) async fn publish(channel: Channel, volume: Volume) -> Result<(), Status> {
    let answer = NodeClient::new(channel)
        .node_publish_volume(volume.request())
        .await;
    answer.map(|_| ())
}

pub(crate) async fn unpublish(channel: Channel, volume: Volume) -> Result<(), Status> {
    let request = NodeUnpublishVolumeRequest {
        volume_id: volume.id,
        target_path: volume.target.to_str().unwrap().to_owned(),
    };
    NodeClient::new(channel)
        .node_unpublish_volume(request)
        .await
        .map(|_| ())
}

fn endpoint(folder: &Path) -> PathBuf {
    folder.join("plugins/token-broker.dev/csi.sock")
}

fn registration(folder: &Path) -> PathBuf {
    folder.join("plugins_registry/token-broker.dev-reg.sock")
}

/// What is mounted below a folder; twice what is mounted twice.
fn mounts(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let targets = table
        .lines()
        .map(|line| PathBuf::from(line.split(' ').nth(4).unwrap()));
    targets
        .filter(|target| target.starts_with(folder) && target != folder)
        .collect()
}
