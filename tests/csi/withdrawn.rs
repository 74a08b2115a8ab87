//! An agent or a permission goes, and so does what pods have mounted.

use std::{fs, os::fd::OwnedFd, path::Path};

use rustix::fs::{Mode, OFlags};
use tonic::Code;

use crate::{
    kubelet::{BILLING, Node},
    support::wait_until,
};

/// The mounted directory as a container has it that was started: whatever the node does to its own mounts.
fn as_container(target: &Path) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(target, flags, Mode::empty()).unwrap()
}

fn is_empty(directory: &OwnedFd) -> bool {
    let names = rustix::fs::Dir::read_from(directory).unwrap();
    names
        .into_iter()
        .all(|entry| matches!(entry.unwrap().file_name().to_bytes(), b"." | b".."))
}

#[test]
fn an_agent_that_is_removed_leaves_its_pods_nothing() {
    let node = Node::start();
    let volume = node.volume("bot-1");
    node.publish(&volume).unwrap();
    let container = as_container(&volume.target);
    assert!(!is_empty(&container));
    fs::remove_file(node.daemon.agents_d().join("invoice-bot.yaml")).unwrap();
    wait_until("the pod to have nothing", || is_empty(&container));
    assert!(volume.seen().try_get("/v1/token").is_err());

    // Added again it is another agent: those who had the old one's directory do not have this one's.
    node.allow("invoice-bot", BILLING);
    node.daemon.wait_for_state("invoice-bot", "active");
    assert!(is_empty(&container));
    // A pod that is started again does.
    node.publish(&volume).unwrap();
    assert!(volume.seen().token().is_some());
    assert_eq!(node.mounts(), std::slice::from_ref(&volume.target));
    node.unpublish(&volume);
}

#[test]
fn a_permission_that_is_withdrawn_is_withdrawn_from_pods_that_run() {
    let node = Node::start();
    let volume = node.volume("bot-1");
    node.publish(&volume).unwrap();
    let container = as_container(&volume.target);
    let other = "kubernetes: {namespace: billing, serviceAccount: other}\n";
    node.allow("invoice-bot", other);
    wait_until("the pod to have nothing", || is_empty(&container));
    assert!(
        node.daemon
            .wait_for_state("invoice-bot", "active")
            .token()
            .is_some()
    );
    // While the agent is on its way to its new holder, nobody can say whose it is.
    wait_until("the agent to have its new holder", || {
        node.publish(&volume).unwrap_err().code() != Code::Unavailable
    });
    assert_eq!(node.publish(&volume).unwrap_err().code(), Code::PermissionDenied);
    let allowed = node.volume_of("bot-2", "billing", "other");
    node.publish(&allowed).unwrap();
    // Nothing more is exchanged: this pod keeps it through renewals.
    let container = as_container(&allowed.target);
    let first = allowed.seen().token().unwrap();
    wait_until("a renewal", || {
        allowed.seen().token().is_some_and(|token| token != first)
    });
    assert!(!is_empty(&container));

    // The same while there is no daemon.
    node.daemon.kill9();
    node.allow("invoice-bot", BILLING);
    node.daemon.start();
    assert!(is_empty(&container), "before it is ready");
    node.publish(&volume).unwrap();
    assert!(volume.seen().token().is_some());
    for volume in [&volume, &allowed] {
        node.unpublish(volume);
    }
}

#[test]
fn another_owner_gets_another_directory_and_pods_of_the_one_before_keep_an_empty_one() {
    let node = Node::start();
    let volume = node.volume("bot-1");
    node.publish(&volume).unwrap();
    let container = as_container(&volume.target);
    let given_to = |owner: &str| {
        let text = fs::read_to_string(node.daemon.agents_d().join("invoice-bot.yaml")).unwrap();
        let (_, rest) = text.split_once("owner: ").unwrap();
        let (_, rest) = rest.split_once('\n').unwrap();
        let text = format!("agent: invoice-bot\nowner: {owner}\n{rest}");
        node.daemon.put_file("invoice-bot", &text);
    };
    given_to("bob");
    wait_until("the pod to have nothing", || is_empty(&container));
    let bot = node.daemon.wait_for_state("invoice-bot", "not_connected");
    assert_eq!(bot.status()["owner"], "bob");
    assert!(is_empty(&container));
    // The pod itself may have it: it is started again, and has the new owner's.
    node.publish(&volume).unwrap();
    assert_eq!(volume.seen().status()["owner"], "bob");
    let container = as_container(&volume.target);

    // The same while there is no daemon.
    node.daemon.kill9();
    given_to("alice");
    node.daemon.start();
    assert!(is_empty(&container), "before it is ready");
    assert_eq!(node.daemon.agent("invoice-bot").status()["owner"], "alice");
    node.publish(&volume).unwrap();
    assert!(volume.seen().token().is_some());
    node.unpublish(&volume);
}
