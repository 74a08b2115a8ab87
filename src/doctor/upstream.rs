//! A node: what it shows its broker, and whether it can keep what it is told.

use super::finding::Finding;
use crate::{
    config::{Config, UpstreamSection},
    file,
    http_client::own_certificate::OwnCertificate,
    text::ShowPath,
};

const UPSTREAM: &str = "upstream";

/// Looks at a node's own side. Whether its broker answers is said by `/readyz`.
pub(super) fn check(config: &Config, section: &UpstreamSection) -> Vec<Finding> {
    let own = OwnCertificate {
        certificate: ("upstream.certificate_file", section.certificate_file.clone()),
        key: ("upstream.key_file", section.key_file.clone()),
    };
    let certificate = match own.read() {
        Ok(_) => {
            let url = section.url.as_str().trim_end_matches('/');
            let listen = config.http_listen;
            Finding::ok(
                UPSTREAM,
                format!(
                    "this is a node of the broker at {url}, and its certificate and key belong together; whether the broker \
                     answers is said by http://{listen}/readyz"
                ),
            )
        }
        Err(problem) => Finding::fail(
            UPSTREAM,
            problem,
            "correct the file, or the key of the configuration",
        ),
    };
    let runtime_dir = &config.runtime_dir;
    let is_kept = !runtime_dir.exists() || file::is_in_memory(runtime_dir);
    let kept = (!is_kept).then(|| {
        let message = format!(
            "runtime_dir {} is not in memory: a node that starts while its broker is away has no tokens for its agents",
            runtime_dir.shown()
        );
        Finding::warn(UPSTREAM, message, "put it on a tmpfs, such as a folder below /run")
    });
    std::iter::once(certificate).chain(kept).collect()
}
