//! What `[csi]`, `[remote]` and `[kubernetes]` need of the node and of the cluster.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::{
    daemon::Seen,
    finding::Finding,
    foreign::{self, Unseen},
    mounts::unescape,
};
use crate::{
    config::{Config, CsiSection, KubernetesApi, TaintSection},
    kubernetes::{Deed, StartupTaint, may},
    text::ShowPath,
};

/// Where the kubelet keeps everything, unless it was told otherwise.
const KUBELET: &str = "/var/lib/kubelet";
/// The capability to mount, as a bit of what `/proc/PID/status` shows (`capabilities(7)`).
const CAP_SYS_ADMIN: u64 = 1 << 21;
const API: &str = "kubernetes api";

/// Looks at the node, and asks the API unless that is to be left alone.
pub(super) async fn check(config: &Config, seen: &Seen, offline: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(csi) = &config.csi {
        findings.extend(sockets(csi, seen.process.is_some()));
        findings.push(may_mount(seen.process));
        findings.push(pods(csi, seen.process));
    }
    let csi = config.csi.as_ref().map(|csi| &csi.api);
    let api = csi.or_else(|| config.remote.as_ref().and_then(|remote| remote.api.as_ref()));
    if let Some(api) = api.filter(|_| !offline) {
        findings.push(reviews(api).await);
    }
    if let Some(taint) = &config.kubernetes.startup_taint
        && !offline
    {
        findings.push(startup_taint(taint, &config.kubernetes.node_name, seen).await);
    }
    findings
}

/// The sockets on which the kubelet calls.
fn sockets(csi: &CsiSection, runs: bool) -> Vec<Finding> {
    const REGISTRATION: &str = "csi.registration";
    let endpoint = socket("csi.endpoint", &csi.endpoint, runs);
    let registration = csi.registration.as_ref().map_or_else(
        || {
            let advice = "set csi.registration, unless node-driver-registrar does that beside the daemon";
            Finding::warn(
                REGISTRATION,
                "the daemon does not register the driver with the kubelet",
                advice,
            )
        },
        |path| socket(REGISTRATION, path, runs),
    );
    vec![endpoint, registration]
}

/// One of them. The daemon makes the folder, but not in a place where there is no kubelet.
fn socket(check: &'static str, path: &Path, runs: bool) -> Finding {
    let shown = path.shown();
    let folder = path.parent().unwrap_or(Path::new("/"));
    let kubelets = if check == "csi.endpoint" {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    };
    if !folder.is_dir() && !kubelets.is_dir() {
        let message = format!("there is no folder {}", kubelets.shown());
        let advice = "set it to a path in the kubelet's own folder; a daemon in a container has to have that mounted \
                      at the same path as on the node";
        return Finding::fail(check, message, advice);
    }
    if !runs {
        return Finding::ok(check, format!("the daemon will bind {shown}"));
    }
    match foreign::connect(path) {
        Ok(()) => Finding::ok(check, format!("{shown} answers")),
        Err(Unseen::Os(error)) if error.kind() == ErrorKind::PermissionDenied => Finding::warn(
            check,
            format!("{shown} may not be opened by this user"),
            "run the doctor as the daemon's user, or as root",
        ),
        Err(error) => Finding::fail(
            check,
            format!("nothing answers at {shown}: {error}"),
            "restart the daemon, which binds it at its start, and look at its log",
        ),
    }
}

/// The folder of a process in `/proc`, and what to call the process: the daemon, or this one in its place.
fn subject(process: Option<i32>) -> (PathBuf, &'static str) {
    match process {
        Some(process) => (format!("/proc/{process}").into(), "the daemon"),
        None => ("/proc/self".into(), "this process"),
    }
}

fn may_mount(process: Option<i32>) -> Finding {
    const CHECK: &str = "csi mounting";
    let (folder, who) = subject(process);
    let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
    match effective(&status) {
        Some(capabilities) if capabilities & CAP_SYS_ADMIN != 0 => {
            Finding::ok(CHECK, format!("{who} may mount"))
        }
        Some(_) if process.is_none() && !rustix::process::geteuid().is_root() => Finding::warn(
            CHECK,
            "this process may not mount, and no daemon runs that could be looked at",
            "run the doctor as root, or while the daemon runs",
        ),
        Some(_) => Finding::fail(
            CHECK,
            format!("{who} may not mount: CAP_SYS_ADMIN is missing"),
            "run the daemon as root; in a pod with `securityContext: {privileged: true}`",
        ),
        None => Finding::warn(CHECK, format!("what {who} may do cannot be read"), ""),
    }
}

/// The effective capabilities in `/proc/PID/status`.
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Whether what the daemon mounts for a pod is seen outside of its own mount namespace.
fn pods(csi: &CsiSection, process: Option<i32>) -> Finding {
    const CHECK: &str = "csi pods";
    let (folder, who) = subject(process);
    let pods = kubelet(&csi.endpoint).join("pods");
    let shown = pods.shown();
    let table = match fs::read_to_string(folder.join("mountinfo")) {
        Ok(table) => table,
        Err(error) => {
            let message = format!("the mounts of {who} cannot be read: {error}");
            return Finding::warn(CHECK, message, "run the doctor as root");
        }
    };
    // Through the process's own root, because its mounts may be others than ours.
    if !folder
        .join("root")
        .join(pods.strip_prefix("/").unwrap_or(&pods))
        .is_dir()
    {
        let advice = "mount the kubelet's folder into the daemon's container at the same path as on the node; csi.endpoint \
                      has to be in the `plugins` folder there";
        let message = format!("{who} sees no {shown}, where the kubelet keeps the pods' volumes");
        return Finding::fail(CHECK, message, advice);
    }
    let real = fs::canonicalize(&pods).unwrap_or_else(|_| pods.clone());
    match mount_above(&table, &real) {
        Some((at, true)) => {
            let message = format!("what {who} mounts below {shown} is seen by pods ({at} is shared)");
            Finding::ok(CHECK, message)
        }
        Some((at, false)) => Finding::fail(
            CHECK,
            format!("what {who} mounts below {shown} is seen by no pod: {at} is not a shared mount"),
            format!(
                "in a pod, mount it with `mountPropagation: Bidirectional`; under systemd, take out of the unit what gives \
                 it mounts of its own; on the node, `mount --make-rshared {at}`"
            ),
        ),
        None => Finding::warn(CHECK, format!("nothing is mounted above {shown}"), ""),
    }
}

/// The kubelet's folder, as the endpoint in its `plugins` folder tells.
fn kubelet(endpoint: &Path) -> &Path {
    let plugins = endpoint.ancestors().find(|path| path.ends_with("plugins"));
    plugins.and_then(Path::parent).unwrap_or(Path::new(KUBELET))
}

/// Where the file system is mounted that `path` is on, and whether mounts there are passed on to others: whether the
/// optional fields of `mountinfo` (`proc_pid_mountinfo(5)`) have `shared:`.
fn mount_above(table: &str, path: &Path) -> Option<(String, bool)> {
    let mounts = table.lines().filter_map(|line| {
        let (mount, _) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(4);
        let at = unescape(fields.next()?);
        let shared = fields.skip(1).any(|field| field.starts_with("shared:"));
        path.starts_with(&at).then_some((at, shared))
    });
    // Of several at the same place, the last covers those before.
    mounts.max_by_key(|(at, _)| Path::new(at).components().count())
}

/// What the daemon has to ask about each pod.
async fn reviews(api: &KubernetesApi) -> Finding {
    let deed = Deed {
        verb: "create",
        group: "authentication.k8s.io",
        resource: "tokenreviews",
        name: "",
    };
    let origin = api.url.origin().ascii_serialization();
    match may(api, deed).await {
        Ok(true) => Finding::ok(
            API,
            format!("{origin} answers, and reviews pods' tokens for the daemon"),
        ),
        Ok(false) => Finding::fail(
            API,
            "the daemon may not create `tokenreviews`, so every pod is refused",
            "bind the ClusterRole system:auth-delegator to its service account",
        ),
        Err(problem) => unasked(problem),
    }
}

fn unasked(problem: String) -> Finding {
    let advice = "check kubernetes.api_url, api_ca_file and api_token_file, and that a network policy lets the daemon \
                  reach the API";
    Finding::fail(API, problem, advice)
}

async fn startup_taint(taint: &TaintSection, node: &str, seen: &Seen) -> Finding {
    const CHECK: &str = "startup taint";
    for verb in ["get", "patch"] {
        let deed = Deed {
            verb,
            group: "",
            resource: "nodes",
            name: node,
        };
        match may(&taint.api, deed).await {
            Ok(true) => {}
            Ok(false) => {
                let message = format!("the daemon may not {verb} the node {node}");
                let advice =
                    "bind a ClusterRole with the verbs get and patch on nodes to its service account";
                return Finding::fail(CHECK, message, advice);
            }
            Err(problem) => return unasked(problem),
        }
    }
    let key = &taint.key;
    match StartupTaint::new(taint, node).is_there().await {
        Ok(false) => Finding::ok(CHECK, format!("the node {node} has no taint {key}")),
        Ok(true) if seen.process.is_none() => Finding::ok(
            CHECK,
            format!("the node {node} has the taint {key} until the daemon runs"),
        ),
        Ok(true) => Finding::warn(
            CHECK,
            format!("the node {node} still has the taint {key}, though the daemon runs"),
            "it goes when the kubelet has registered the driver: look at the daemon's log and the kubelet's",
        ),
        Err(problem) => Finding::fail(CHECK, problem, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_that_counts_is_the_nearest_and_the_last() {
        let table = "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                     30 21 8:1 /var/lib/kubelet /var/lib/kubelet rw,relatime master:1 - ext4 /dev/sda1 rw\n\
                     31 30 0:40 / /var/lib/kubelet/pods/a/mount rw shared:9 - tmpfs tmpfs rw\n\
                     32 21 8:1 /x /var/lib/kube rw,relatime shared:7 master:2 - ext4 /dev/sda1 rw\n";
        let above = |path: &str| mount_above(table, Path::new(path));
        let found = |at: &str, shared| Some((at.to_owned(), shared));
        assert_eq!(above("/var/lib/kubelet/pods"), found("/var/lib/kubelet", false));
        assert_eq!(above("/var/lib/kube/pods"), found("/var/lib/kube", true));
        assert_eq!(above("/srv/kubelet/pods"), found("/", true));
        let covered = format!("{table}40 30 0:41 / /var/lib/kubelet rw shared:3 - tmpfs tmpfs rw\n");
        assert_eq!(
            mount_above(&covered, Path::new("/var/lib/kubelet/pods")),
            found("/var/lib/kubelet", true)
        );
        // What follows the hyphen is the file system's.
        let odd = "21 1 8:1 / / rw - fuse shared:1 rw\n";
        assert_eq!(mount_above(odd, Path::new("/x")), found("/", false));
    }

    #[test]
    fn the_kubelets_folder_is_where_the_endpoint_is() {
        for (endpoint, folder) in [
            ("/var/lib/kubelet/plugins/token-broker.dev/csi.sock", KUBELET),
            ("/data/kubelet/plugins/a/csi.sock", "/data/kubelet"),
            ("/csi/csi.sock", KUBELET),
        ] {
            assert_eq!(kubelet(Path::new(endpoint)), Path::new(folder));
        }
    }

    #[test]
    fn capabilities_are_read() {
        assert_eq!(
            effective("Name:\tx\nCapEff:\t0000000000200001\n"),
            Some(0x20_0001)
        );
        assert_eq!(effective("CapInh:\t0000000000000000\n"), None);
        let own = fs::read_to_string("/proc/self/status").unwrap();
        assert!(effective(&own).is_some());
    }

    #[test]
    fn a_folder_that_is_no_kubelets_is_named() {
        let found = socket("csi.registration", Path::new("/no/such/folder/reg.sock"), false);
        assert_eq!(found.message, "there is no folder /no/such/folder");
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("driver/csi.sock");
        assert!(
            socket("csi.endpoint", &below, false)
                .message
                .contains("will bind")
        );
        let found = socket("csi.endpoint", &below, true);
        assert!(found.message.starts_with("nothing answers at"), "{found:?}");
    }
}
