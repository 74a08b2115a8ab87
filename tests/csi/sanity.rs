//! The Kubernetes project's own conformance suite for drivers.

use std::process::Command;

use crate::{kubelet::Node, platform};

/// The one scene of the Node service that begins with `CreateVolume`, which this driver has not.
const CREATES: &str = "NodeUnpublishVolume should remove target path";

#[test]
fn csi_sanity_passes() {
    let node = Node::start();
    // The suite asks the Controller service of every driver, though this one says in GetPluginCapabilities that it
    // has none.
    let skip = format!("--ginkgo.skip=\\[(Group)?Controller Server\\]|{CREATES}");
    let said = passes(&node, &[skip]);
    assert!(said.contains("SUCCESS! -- 10 Passed"), "{said}");

    let controller = node.folder().join("controller.sock");
    platform::serve(&controller, node.volume("bot-1").context());
    let focus = format!("--ginkgo.focus={CREATES}");
    let controller = format!("--csi.controllerendpoint={}", controller.display());
    let said = passes(&node, &[focus, controller]);
    assert!(said.contains("SUCCESS! -- 1 Passed"), "{said}");
    assert_eq!((node.mounts().len(), node.records()), (0, 0));
}

/// Runs the suite; returns what it said.
#[track_caller]
fn passes(node: &Node, args: &[String]) -> String {
    let sanity = std::env::var_os("TOKEN_BROKER_TEST_CSI_SANITY")
        .expect("csi-sanity is missing: tests/run --test csi builds it");
    let output = Command::new(sanity)
        .args(["--ginkgo.no-color", "--ginkgo.v"])
        .args(args)
        .arg(format!("--csi.endpoint={}", node.endpoint().display()))
        .arg(format!(
            "--csi.mountdir={}",
            node.folder().join("mount").display()
        ))
        .arg(format!(
            "--csi.stagingdir={}",
            node.folder().join("stage").display()
        ))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    said
}
