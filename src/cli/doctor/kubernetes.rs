//! The CSI driver and the Kubernetes API, where they are configured.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::thread::{CapabilitySet, capabilities};

use super::{Finding, mounts::unescape};
use crate::{
    config::{Config, CsiSection},
    delivery::kubernetes::{StartupTaint, try_review},
};

/// Looks at `[csi]` without a network.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let Some(csi) = &config.csi else {
        return Vec::new();
    };
    let mut findings = vec![may_mount()];
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    findings.extend(kubelet_folder(csi).map(|folder| propagation(&folder, &table)));
    findings
}

/// Asks the Kubernetes API what the daemon is going to ask it.
pub(super) async fn check_api(config: &Config) -> Vec<Finding> {
    const REVIEWS: &str = "tokenreviews";
    const TAINT: &str = "startup_taint";
    let mut findings = Vec::new();
    if let Some(csi) = &config.csi {
        findings.push(match try_review(&csi.api, &csi.audience).await {
            Ok(()) => Finding::ok(REVIEWS, "the Kubernetes API says whose tokens pods have"),
            Err(problem) => Finding::fail(REVIEWS, problem, "until then no pod gets a volume"),
        });
    }
    if let Some(section) = &config.kubernetes.startup_taint {
        let node = &config.kubernetes.node_name;
        findings.push(match StartupTaint::new(section, node).is_there().await {
            Ok(false) => Finding::ok(TAINT, format!("{node} does not have the taint {}", section.key)),
            Ok(true) => Finding::warn(
                TAINT,
                format!("{node} still has the taint {}", section.key),
                "the daemon removes it once the kubelet has registered the driver: look at its log",
            ),
            Err(problem) => Finding::fail(TAINT, problem, "until then no pod comes to this node"),
        });
    }
    findings
}

fn may_mount() -> Finding {
    const CHECK: &str = "mounting";
    let may = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    if may {
        Finding::ok(CHECK, "CAP_SYS_ADMIN is there, which mounting takes")
    } else {
        let advice = "run the daemon as root, and its container with `privileged: true`";
        Finding::fail(
            CHECK,
            "CAP_SYS_ADMIN is missing, so no volume can be mounted",
            advice,
        )
    }
}

/// The kubelet's folder, which the driver's socket lies in by convention; pods' volumes do as well.
fn kubelet_folder(csi: &CsiSection) -> Option<PathBuf> {
    let plugins = csi.endpoint.ancestors().find(|path| path.ends_with("plugins"))?;
    plugins.parent().map(Path::to_owned)
}

/// Whether what is mounted in a folder is seen elsewhere (`proc_pid_mountinfo(5)`: the seventh field and those that
/// follow, up to a hyphen).
fn propagation(folder: &Path, table: &str) -> Finding {
    const CHECK: &str = "mount propagation";
    const ADVICE: &str = "mount it into the daemon's container with `mountPropagation: Bidirectional`";
    let shown = folder.display();
    if !folder.exists() {
        let message = format!("{shown} is not there, and the kubelet calls the driver in it");
        return Finding::fail(CHECK, message, ADVICE);
    }
    let covering = table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(4);
            let target = PathBuf::from(unescape(fields.next()?));
            let is_shared = fields
                .skip(1)
                .take_while(|field| *field != "-")
                .any(|field| field.starts_with("shared:"));
            folder
                .starts_with(&target)
                .then(|| (target.as_os_str().len(), is_shared))
        })
        // Of several mounts at one place, the last is on top.
        .max_by_key(|(length, _)| *length);
    if covering.is_some_and(|(_, is_shared)| is_shared) {
        Finding::ok(CHECK, format!("what is mounted in {shown} is seen by the pods"))
    } else {
        let message = format!("what is mounted in {shown} stays in here: pods have empty volumes");
        Finding::fail(CHECK, message, ADVICE)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    #[test]
    fn propagation_is_that_of_the_mount_that_covers_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let root = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda rw";
        let line = |optional: &str| format!("36 22 8:1 /x {path} rw,relatime {optional}- ext4 /dev/sda rw");
        let judged = |lines: &[&str]| propagation(folder.path(), &lines.join("\n")).verdict;
        assert_eq!(judged(&[root]), Verdict::Ok);
        assert_eq!(judged(&[root, &line("shared:7 ")]), Verdict::Ok);
        assert_eq!(judged(&[root, &line("master:1 shared:7 ")]), Verdict::Ok);
        for private in ["", "master:1 "] {
            assert_eq!(judged(&[root, &line(private)]), Verdict::Fail, "{private}");
        }
        assert_eq!(judged(&[]), Verdict::Fail);
        assert_eq!(
            propagation(Path::new("/no/such/folder"), root).verdict,
            Verdict::Fail
        );
    }
}
