//! `doctor` on a node of a cluster.

use std::{collections::HashMap, fs};

use http::StatusCode;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use serde_json::{Value, json};

use crate::{
    kubelet::Node,
    registration::notify,
    support::{Output, wait_until},
};

const VARIABLE: &str = "TOKEN_BROKER_KUBERNETES_STARTUP_TAINT";
const KEY: &str = "token-broker.dev/agent-not-ready";

/// What it says of the cluster: each check's verdict, and the sentence with the advice.
fn examined(node: &Node, args: &[&str]) -> HashMap<String, (String, String)> {
    let mut command = node
        .daemon
        .command(&[&["doctor", "--output", "json"], args].concat());
    let said = node
        .daemon
        .remember(Output::of(command.env(VARIABLE, KEY)))
        .json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let checks = said["checks"].as_array().unwrap().iter();
    checks
        .map(|check| {
            let sentence = format!("{} -> {}", text(&check["message"]), text(&check["advice"]));
            (text(&check["check"]), (text(&check["verdict"]), sentence))
        })
        .collect()
}

#[track_caller]
fn says(found: &HashMap<String, (String, String)>, check: &str, verdict: &str, part: &str) {
    let (judged, sentence) = &found[check];
    assert!(
        judged == verdict && sentence.contains(part),
        "{check}: {judged}: {sentence}"
    );
}

#[test]
fn doctor_finds_what_keeps_pods_from_their_volumes() {
    let mut node = Node::prepare();
    node.kubernetes
        .taint(&[json!({ "key": KEY, "effect": "NoSchedule" })]);
    node.daemon
        .environment
        .push((VARIABLE.to_owned(), KEY.to_owned()));
    let found = examined(&node, &[]);
    says(
        &found,
        "csi.endpoint",
        "fail",
        "plugins -> set it to a path in the kubelet's own folder",
    );
    says(&found, "csi pods", "fail", "this process sees no ");

    node.daemon.start();
    let pods = node.folder().join("pods");
    fs::create_dir(&pods).unwrap();
    mount_bind(&pods, &pods).unwrap();
    mount_change(&pods, MountPropagationFlags::SHARED).unwrap();
    let found = examined(&node, &[]);
    for socket in ["csi.endpoint", "csi.registration"] {
        says(&found, socket, "ok", "sock answers");
    }
    says(&found, "csi mounting", "ok", "the daemon may mount");
    says(&found, "csi pods", "ok", "is seen by pods");
    says(
        &found,
        "kubernetes api",
        "ok",
        "reviews pods' tokens for the daemon",
    );
    says(&found, "startup taint", "warn", "though the daemon runs");
    says(
        &found,
        "daemon",
        "warn",
        "the kubelet has not registered the CSI driver",
    );
    notify(&node.registration(), true, "");
    wait_until("the taint to go", || node.kubernetes.taints().is_empty());
    says(&examined(&node, &[]), "daemon", "ok", "runs");
    says(
        &examined(&node, &[]),
        "startup taint",
        "ok",
        "node-1 has no taint",
    );

    mount_change(&pods, MountPropagationFlags::PRIVATE).unwrap();
    node.kubernetes.answer_with(Some(StatusCode::FORBIDDEN));
    node.kubernetes.forbid_nodes(true);
    let found = examined(&node, &[]);
    says(&found, "csi pods", "fail", "`mountPropagation: Bidirectional`");
    says(
        &found,
        "kubernetes api",
        "fail",
        "bind the ClusterRole system:auth-delegator",
    );
    says(
        &found,
        "startup taint",
        "fail",
        "may not get the node node-1 -> bind a ClusterRole",
    );
    unmount(&pods, UnmountFlags::empty()).unwrap();

    node.kubernetes.end();
    says(
        &examined(&node, &[]),
        "kubernetes api",
        "fail",
        "the Kubernetes API (localhost)",
    );
    let offline = examined(&node, &["--offline"]);
    assert!(!offline.contains_key("kubernetes api") && !offline.contains_key("startup taint"));
    // The kubelet's own tidying, or somebody's.
    fs::remove_file(node.endpoint()).unwrap();
    says(
        &examined(&node, &["--offline"]),
        "csi.endpoint",
        "fail",
        "restart the daemon",
    );
}
