//! Who else than root and the daemon's user could change what decides what agents get.

use super::finding::Finding;
use crate::{config::Config, text::ShowPath};

const CHECK: &str = "who may write";

/// Looks at the configuration, and at the folders on the way to it, to the secrets and to the daemon's own folders.
/// `in_pod` says that the file systems are a pod's own, where a volume that is open to all is open to its containers.
pub(super) fn check(config: &Config, user: u32, in_pod: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(reason) = config.written_by_others(user) {
        let message = format!("{}: {reason}", config.file.shown());
        let advice = "it names what the daemon starts and trusts: look at what it says before you close it";
        findings.push(Finding::fail(CHECK, message, advice));
    }
    for gap in config.gaps(user) {
        let (message, advice) = (gap.to_string(), "whoever does so decides who gets which token");
        findings.push(if in_pod && gap.is_of_mode() {
            Finding::warn(CHECK, message, advice)
        } else {
            Finding::fail(CHECK, message, advice)
        });
    }
    if findings.is_empty() {
        let message =
            "nobody but root and the daemon's user can change or exchange its configuration and folders";
        findings.push(Finding::ok(CHECK, message));
    }
    findings
}
