//! The Kubernetes project's own conformance suite for drivers.

use std::process::Command;

use crate::kubelet::Node;

#[test]
fn csi_sanity_passes() {
    let sanity = std::env::var_os("TOKEN_BROKER_TEST_CSI_SANITY")
        .expect("csi-sanity is missing: tests/run --test csi builds it");
    let node = Node::start();
    let folder = node.folder().join("sanity");
    std::fs::create_dir(&folder).unwrap();
    let output = Command::new(sanity)
        .args(["--ginkgo.no-color", "--ginkgo.v"])
        // The suite asks these of every driver, though this one says in GetPluginCapabilities that there is no
        // Controller service: those of that service, and one that begins with CreateVolume. The scenes in this folder
        // look at the same.
        .arg("--ginkgo.skip=\\[(Group)?Controller Server\\]|NodeUnpublishVolume should remove target path")
        .arg(format!("--csi.endpoint={}", node.endpoint().display()))
        .arg(format!("--csi.mountdir={}", folder.join("mount").display()))
        .arg(format!("--csi.stagingdir={}", folder.join("stage").display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let summary = said
        .lines()
        .find(|line| line.starts_with("SUCCESS!"))
        .unwrap_or_default();
    println!("csi-sanity: {summary}");
    for scene in ["Node Service", "Identity Service"] {
        assert!(said.contains(scene), "{scene} was not looked at: {said}");
    }
    let passed = summary.split(' ').find_map(|word| word.parse::<u32>().ok());
    assert!(passed.is_some_and(|passed| passed >= 10), "{said}");
}
