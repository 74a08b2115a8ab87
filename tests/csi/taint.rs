//! The node is open to pods when the daemon is ready, and not before.

use serde_json::{Value, json};

use crate::{
    kubelet::Node,
    registration::notify,
    support::{Output, wait_for, wait_until},
};

const KEY: &str = "token-broker.dev/agent-not-ready";

/// Ours, and what others put there.
fn ours(effect: &str) -> Value {
    json!({ "key": KEY, "effect": effect })
}

fn other(key: &str) -> Value {
    json!({ "key": key, "effect": "NoExecute", "timeAdded": "2026-01-15T10:30:00Z" })
}

/// A node with these taints, its daemon running; the kubelet has not registered the driver yet.
fn tainted(taints: &[Value]) -> Node {
    let mut node = Node::prepare();
    node.kubernetes.taint(taints);
    let variable = "TOKEN_BROKER_KUBERNETES_STARTUP_TAINT";
    node.daemon
        .environment
        .push((variable.to_owned(), KEY.to_owned()));
    node.daemon.start();
    node
}

fn register(node: &Node) {
    notify(&node.registration(), true, "");
}

#[test]
fn it_goes_when_the_kubelet_has_registered_the_driver_and_others_stay() {
    let node = tainted(&[
        other("a"),
        ours("NoSchedule"),
        other("token-broker.dev/other"),
        ours("NoExecute"),
    ]);
    notify(&node.registration(), false, "not yet");
    wait_until("the daemon to be told", || node.daemon.log().contains("not yet"));
    assert_eq!(node.kubernetes.node_requests(), (0, 0), "it is not ready");
    register(&node);
    let left = wait_for("the taint to go", || {
        let taints = node.kubernetes.taints();
        (taints.len() < 4).then_some(taints)
    });
    assert_eq!(left, [other("a"), other("token-broker.dev/other")]);
    assert_eq!(node.kubernetes.node_requests(), (1, 1));
}

#[test]
fn what_is_not_there_is_not_removed() {
    for taints in [vec![], vec![other("a")]] {
        let node = tainted(&taints);
        register(&node);
        wait_until("the daemon to have looked", || {
            node.daemon.log().contains("the node has no such taint")
        });
        assert_eq!(node.kubernetes.taints(), taints);
        assert_eq!(node.kubernetes.node_requests(), (1, 0));
    }
}

#[test]
fn whoever_writes_at_the_same_time_loses_nothing() {
    let node = tainted(&[ours("NoSchedule"), other("a")]);
    node.kubernetes.disturb(other("first"), 1);
    register(&node);
    wait_until("the taint to go", || {
        !node.kubernetes.taints().contains(&ours("NoSchedule"))
    });
    assert_eq!(node.kubernetes.taints(), [other("first"), other("a")]);
    // The first met a write, the second a list in another order.
    assert!(node.kubernetes.node_requests().1 >= 2);
}

#[test]
fn a_missing_right_is_named_and_tried_again() {
    let node = tainted(&[ours("NoSchedule")]);
    node.kubernetes.forbid_nodes(true);
    register(&node);
    wait_until("the log to name the right", || {
        node.daemon
            .log()
            .contains("bind a ClusterRole with the verbs get and patch on nodes")
    });
    assert_eq!(node.kubernetes.taints(), [ours("NoSchedule")]);
    node.kubernetes.forbid_nodes(false);
    wait_until("the taint to go", || node.kubernetes.taints().is_empty());
    assert!(node.daemon.is_alive());
}

#[test]
fn doctor_tells_what_the_api_allows() {
    let node = tainted(&[ours("NoSchedule")]);
    let verdicts = || {
        let mut doctor = node.daemon.command(&["doctor", "--output", "json"]);
        doctor.env("TOKEN_BROKER_KUBERNETES_STARTUP_TAINT", KEY);
        let checks = Output::of(&mut doctor).json()["checks"].take();
        ["mounting", "tokenreviews", "startup_taint"].map(|name| {
            let found = checks
                .as_array()
                .unwrap()
                .iter()
                .find(|check| check["check"] == name);
            let found = found.unwrap();
            (
                found["verdict"].as_str().unwrap().to_owned(),
                found["message"].as_str().unwrap().to_owned(),
            )
        })
    };
    let [mounting, reviews, taint] = verdicts();
    assert_eq!(
        (mounting.0.as_str(), reviews.0.as_str()),
        ("ok", "ok"),
        "{mounting:?} {reviews:?}"
    );
    assert_eq!(taint.0, "warn", "{taint:?}");
    node.kubernetes.answer_with(Some(http::StatusCode::FORBIDDEN));
    node.kubernetes.forbid_nodes(true);
    let [_, reviews, taint] = verdicts();
    assert_eq!((reviews.0.as_str(), taint.0.as_str()), ("fail", "fail"));
    assert!(reviews.1.contains("system:auth-delegator"), "{reviews:?}");
    assert!(taint.1.contains("get and patch on nodes"), "{taint:?}");
}
