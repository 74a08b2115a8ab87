//! What the kubelet makes of a workload, on this machine: its volumes as folders, with the owners and modes that they
//! have on a node; its environment; its rights. The daemon in it is the real one.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    certificate::Certificate,
    support::{Agent, CLIENT_ID, Connecting, Daemon, Emulator, Refused, browse, get, wait_until},
};

/// The pod's one container, which runs.
pub(crate) struct Pod {
    pub(crate) daemon: Daemon,
    container: Value,
    /// Where each volume is mounted, and the folder that it is here; the longest first.
    mounts: Vec<(String, PathBuf)>,
    volumes: TempDir,
}

impl Pod {
    /// Starts the pod of `workload`, whose `ConfigMap`s hold `config` and one agent's manifest.
    #[track_caller]
    pub(crate) fn start(workload: &Value, config: &str, agent: &str, google: &Emulator) -> Self {
        match Self::try_start(workload, config, agent, google) {
            Ok(pod) => pod,
            Err(refused) => panic!("the daemon did not start: {}", refused.stderr),
        }
    }

    /// The same, where the daemon may refuse.
    pub(crate) fn try_start(
        workload: &Value,
        config: &str,
        agent: &str,
        google: &Emulator,
    ) -> Result<Self, Refused> {
        let mut spec = workload["spec"]["template"]["spec"].clone();
        for claim in list(&workload["spec"]["volumeClaimTemplates"]) {
            let volume = json!({"name": claim["metadata"]["name"], "claim": {}});
            spec["volumes"].as_array_mut().unwrap().push(volume);
        }
        let container = spec["containers"][0].clone();
        let volumes = tempfile::tempdir().unwrap();
        set_mode(volumes.path(), 0o711);
        let mut pod = Self {
            daemon: Daemon::new(google),
            mounts: Vec::new(),
            volumes,
            container,
        };
        for mount in list(&pod.container["volumeMounts"]).to_vec() {
            let volume = list(&spec["volumes"]).iter().find(|v| v["name"] == mount["name"]);
            let folder = pod.place(volume.expect("every mount has its volume"), &spec, google);
            pod.mounts.push((text(&mount["mountPath"]), folder));
        }
        pod.mounts.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));

        fs::write(pod.daemon.config_file(), pod.relocated(config)).unwrap();
        for (path, mode) in [
            (pod.daemon.config_dir(), 0o755),
            (pod.daemon.config_file(), 0o644),
            (pod.daemon.agents_d(), 0o755),
        ] {
            set_mode(&path, mode);
        }
        pod.daemon.put_file("invoice-bot", agent);
        pod.daemon.environment = environment(&pod.container, config, google);
        pod.daemon.launcher = launcher(&spec, &pod.container);
        pod.daemon.try_start()?;
        Ok(pod)
    }

    /// The folder that a volume is on the node, and what is in it before the daemon starts.
    fn place(&self, volume: &Value, spec: &Value, google: &Emulator) -> PathBuf {
        let name = text(&volume["name"]);
        if volume.get("configMap").is_some() {
            return match name.as_str() {
                "config" => self.daemon.config_dir(),
                "agents" => self.daemon.agents_d(),
                _ => panic!("a ConfigMap that nobody fills: {name}"),
            };
        }
        let group = spec["securityContext"]["fsGroup"].as_u64();
        let gid = group.map(|group| u32::try_from(group).unwrap());
        let folder = self.volumes.path().join(&name);
        fs::create_dir(&folder).unwrap();
        if let Some(secret) = volume.get("secret") {
            set_mode(&folder, 0o755);
            let mode = u32::try_from(secret["defaultMode"].as_u64().unwrap_or(0o644)).unwrap();
            for (file, content) in self.secret(&text(&secret["secretName"]), google) {
                let file = folder.join(file);
                fs::write(&file, content).unwrap();
                // What belongs to a group is readable by it, whatever the volume's mode says.
                set_mode(&file, mode | gid.map_or(0, |_| 0o040));
                chown(&file, Some(0), gid).unwrap();
            }
            return folder;
        }
        let mode = match (volume.get("hostPath"), volume.get("emptyDir"), gid) {
            (Some(_), ..) => 0o755,
            (_, Some(_), _) => 0o2777,
            _ => 0o2775,
        };
        let gid = gid.filter(|_| volume.get("hostPath").is_none());
        chown(&folder, Some(0), gid).unwrap();
        set_mode(&folder, mode);
        folder
    }

    /// What the page has put into a secret.
    fn secret(&self, name: &str, google: &Emulator) -> Vec<(&'static str, String)> {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        let of_certificate = |names: &[&'static str]| {
            let certificate = Certificate::new();
            let file = |name: &&'static str| (*name, read(certificate.file(name)));
            names.iter().map(file).collect()
        };
        match name {
            "token-broker" => vec![
                ("master.key", read(self.daemon.key_file())),
                ("client_secret", google.client_secret.clone()),
            ],
            "token-broker-tls" => of_certificate(&["tls.crt", "tls.key"]),
            "token-broker-admin-tls" => of_certificate(&["tls.crt", "tls.key", "ca.crt"]),
            _ => panic!("a secret that no page makes: {name}"),
        }
    }

    /// The configuration with the paths of this machine: each has to be in some volume, for the rest is read-only.
    fn relocated(&self, config: &str) -> String {
        let mut table: toml::Table = toml::from_str(config).unwrap();
        for (key, value) in &mut table {
            self.relocate(key, value);
        }
        toml::to_string(&table).unwrap()
    }

    fn relocate(&self, key: &str, value: &mut toml::Value) {
        match value {
            toml::Value::Table(table) => {
                for (inner, value) in table {
                    self.relocate(&format!("{key}.{inner}"), value);
                }
            }
            toml::Value::String(text) => {
                let (kind, path) = match text.strip_prefix("file:") {
                    Some(path) => ("file:", path),
                    None => ("", text.as_str()),
                };
                if path.starts_with('/') {
                    *text = format!("{kind}{}", self.here(path).expect(key).display());
                }
            }
            _ => {}
        }
    }

    /// What a path in the container is here; `None` where no volume has it.
    pub(crate) fn here(&self, path: &str) -> Option<PathBuf> {
        let path = Path::new(path);
        let inside = |(mount, folder): &(String, PathBuf)| Some(folder.join(path.strip_prefix(mount).ok()?));
        self.mounts.iter().find_map(inside)
    }

    /// Asks what the kubelet asks.
    #[track_caller]
    pub(crate) fn probe(&self) {
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let path = text(&self.container[probe]["httpGet"]["path"]);
            get(&format!("{}{path}", self.daemon.http())).expect_ok();
        }
    }

    /// `kubectl exec … token-broker connect`, and the person approves; returns the agent once it has its token.
    pub(crate) fn connect(&self, runtime_dir: &str) -> Agent {
        let agent = Agent {
            name: "invoice-bot".to_owned(),
            directory: self.here(runtime_dir).unwrap().join("agents/invoice-bot"),
        };
        let arguments = ["connect", "--owner", "alice"];
        let keys = ["google.gmail.send", "google.calendar.readonly"];
        let mut command = self.daemon.command(&arguments);
        command.args(keys.iter().flat_map(|key| ["--capability", key]));
        let environment = self.daemon.environment.iter().cloned();
        let connecting = Connecting::of(command.envs(environment)).unwrap();
        assert_eq!(browse(connecting.url.as_str()).status, 200);
        connecting.finish().expect_ok();
        wait_until("the agent to be active", || {
            agent.variable("TOKEN_BROKER_STATE").as_deref() == Some("active")
        });
        agent
    }
}

/// The container's environment in a cluster, and where this machine's Google and free ports are.
fn environment(container: &Value, config: &str, google: &Emulator) -> Vec<(String, String)> {
    let own = list(&container["env"]).iter().map(|variable| {
        let from = &variable["valueFrom"];
        let value = match (from.get("fieldRef"), from.get("secretKeyRef")) {
            (Some(field), _) if field["fieldPath"] == "spec.nodeName" => "node-1".to_owned(),
            (_, Some(key)) if key["key"] == "client_id" => CLIENT_ID.to_owned(),
            _ => text(&variable["value"]),
        };
        (text(&variable["name"]), value)
    });
    let port = free_port();
    let mut here = vec![
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1".to_owned()),
        ("KUBERNETES_SERVICE_PORT", free_port().to_string()),
        ("TOKEN_BROKER_GOOGLE_ENDPOINT_BASE", google.base_url.clone()),
        ("TOKEN_BROKER_HTTP_LISTEN", format!("127.0.0.1:{port}")),
        ("TOKEN_BROKER_PUBLIC_URL", format!("http://127.0.0.1:{port}")),
    ];
    if config.contains("[remote]") {
        here.push(("TOKEN_BROKER_REMOTE_LISTEN", format!("127.0.0.1:{}", free_port())));
    }
    if config.contains("[admin]") {
        here.push(("TOKEN_BROKER_ADMIN_LISTEN", format!("127.0.0.1:{}", free_port())));
    }
    let here = here.into_iter().map(|(name, value)| (name.to_owned(), value));
    own.chain(here).collect()
}

/// What starts a program with the rights that the container has; nothing where it has all.
fn launcher(spec: &Value, container: &Value) -> Vec<String> {
    let (pod, own) = (&spec["securityContext"], &container["securityContext"]);
    let id = |name: &str| [own, pod].into_iter().find_map(|context| context[name].as_u64());
    let uid = id("runAsUser").expect("it says as whom it runs");
    let gid = id("runAsGroup").expect("it says with which group it runs");
    assert!(pod["runAsNonRoot"] != true || uid != 0, "{pod}");
    if own["privileged"] == true {
        assert_eq!((uid, gid), (0, 0));
        return Vec::new();
    }
    assert_eq!(list(&own["capabilities"]["drop"]), [json!("ALL")]);
    let added = list(&own["capabilities"]["add"]).iter();
    let capabilities = added.fold("-all".to_owned(), |all, name| {
        format!("{all},+{}", text(name).to_lowercase())
    });
    assert_eq!(own["allowPrivilegeEscalation"], false);
    let groups = id("fsGroup").map_or("--clear-groups".to_owned(), |group| format!("--groups={group}"));
    let program = format!(
        "setpriv --reuid={uid} --regid={gid} {groups} --inh-caps={capabilities} --bounding-set={capabilities} \
         --no-new-privs --"
    );
    program.split(' ').map(str::to_owned).collect()
}

/// A port that nobody has at the moment: the address has to be known before the start, for people come back to it.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
