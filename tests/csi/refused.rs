//! Who may not have it, and what they are told: the kubelet puts it into the pod's events.

use http::StatusCode;
use tonic::{Code, Status};

use crate::{
    kubelet::{BILLING, Node, Volume, publish},
    support::block_on,
};

#[track_caller]
fn refused(node: &Node, volume: &Volume, code: Code, words: &[&str]) -> Status {
    let refused = node.publish(volume).unwrap_err();
    assert_eq!(refused.code(), code, "{refused}");
    for word in words {
        assert!(refused.message().contains(word), "{word}: {refused}");
    }
    assert!(!refused.message().contains("canary"), "{refused}");
    assert!(node.mounts().is_empty(), "nothing is mounted");
    refused
}

#[test]
fn pods_that_the_manifest_does_not_name_are_refused_with_both_sides_named() {
    let node = Node::start();
    node.allow("free-bot", "");
    node.daemon.wait_for_state("free-bot", "active");
    for (namespace, service_account) in [("billing", "default"), ("other", "invoice-bot")] {
        let volume = node.volume_of("bot-1", namespace, service_account);
        let both = [
            "billing/invoice-bot",
            &format!("runs as {namespace}/{service_account}"),
        ];
        refused(&node, &volume, Code::PermissionDenied, &both);
    }
    let none = node.volume("bot-1").of_agent("free-bot");
    let words = [
        "is given to no pod",
        "add `kubernetes: {namespace: billing, serviceAccount: invoice-bot}`",
    ];
    refused(&node, &none, Code::PermissionDenied, &words);
    let unknown = node.volume("bot-1").of_agent("nobody");
    refused(
        &node,
        &unknown,
        Code::NotFound,
        &["this node knows no agent nobody"],
    );
    assert_eq!(node.kubernetes.reviews(), 0, "nobody was asked for nothing");
    assert!(node.daemon.audit().contains("denied"));
}

#[test]
fn a_pod_that_cannot_prove_itself_is_refused() {
    let node = Node::start();
    let volume = node.volume("bot-1");
    let with = |token: String| Volume {
        token,
        ..volume.clone()
    };
    let issue = |service_account, pod: &str, audience| {
        with(
            node.kubernetes
                .issue("billing", service_account, &format!("uid-of-{pod}"), audience),
        )
    };
    let audience = "token-broker.dev";
    let expired = issue("invoice-bot", "bot-1", audience);
    node.kubernetes.expire(&expired.token);
    for (volume, why) in [
        (with("eyJ.canary-forged.x".to_owned()), "does not accept it"),
        (expired, "does not accept it"),
        (issue("default", "bot-1", audience), "it is of billing/default"),
        (
            issue("invoice-bot", "bot-2", audience),
            "not bound to this pod (uid uid-of-bot-1)",
        ),
        (
            issue("invoice-bot", "bot-1", "https://kubernetes.default.svc"),
            "does not accept it",
        ),
    ] {
        refused(
            &node,
            &volume,
            Code::PermissionDenied,
            &["does not prove the pod billing/bot-1", why],
        );
        node.daemon.scan_for_secrets(&[&volume.token]);
    }
    node.publish(&volume).unwrap();
    node.unpublish(&volume);
}

#[test]
fn while_nobody_can_say_it_is_tried_again() {
    let node = Node::start();
    let volume = node.volume("bot-1");
    node.kubernetes.answer_with(Some(StatusCode::FORBIDDEN));
    refused(
        &node,
        &volume,
        Code::Unavailable,
        &["may not create `tokenreviews`", "system:auth-delegator"],
    );
    node.kubernetes
        .answer_with(Some(StatusCode::INTERNAL_SERVER_ERROR));
    refused(&node, &volume, Code::Unavailable, &["HTTP 500"]);
    node.kubernetes.answer_with(None);

    let old = std::fs::read_to_string(node.kubernetes.token_file()).unwrap();
    node.kubernetes.rotate_own_token();
    std::fs::write(node.kubernetes.token_file(), old).unwrap();
    refused(
        &node,
        &volume,
        Code::Unavailable,
        &["does not accept the daemon's own token"],
    );
    node.kubernetes.end();
    refused(&node, &volume, Code::Unavailable, &["cannot be reached"]);

    // Back with another authority and another token: both files are read each time.
    node.kubernetes.begin();
    node.kubernetes.rotate_own_token();
    node.publish(&volume).unwrap();
    node.unpublish(&volume);

    // A server that the authority does not vouch for gets no token.
    let ca = std::fs::read(node.kubernetes.ca_file()).unwrap();
    node.kubernetes.end();
    node.kubernetes.begin();
    std::fs::write(node.kubernetes.ca_file(), ca).unwrap();
    let reviews = node.kubernetes.reviews();
    refused(&node, &volume, Code::Unavailable, &["certificate"]);
    assert_eq!(node.kubernetes.reviews(), reviews);
}

#[test]
fn one_volume_is_for_one_agent_at_one_place() {
    let node = Node::start();
    let volume = node.volume("bot-1");
    node.publish(&volume).unwrap();
    let mut elsewhere = volume.clone();
    elsewhere.target.set_file_name("elsewhere");
    let refused = node.publish(&elsewhere).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(!elsewhere.target.exists());
    node.allow("other-bot", BILLING);
    node.daemon.wait_for_state("other-bot", "active");
    let refused = node.publish(&volume.clone().of_agent("other-bot")).unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    // Nor is it withdrawn where it never was.
    node.unpublish(&elsewhere);
    assert_eq!(node.mounts(), std::slice::from_ref(&volume.target));
    assert_eq!(node.records(), 1);
    // However the place is spelled.
    let mut spelled = volume.clone();
    spelled.target = format!("{}//./", volume.target.display()).into();
    node.publish(&spelled).unwrap();
    assert_eq!(node.mounts(), std::slice::from_ref(&volume.target));

    // A link in the target's place is not followed.
    let planted = node.volume("bot-2");
    std::os::unix::fs::symlink(node.folder(), &planted.target).unwrap();
    let refused = node.publish(&planted).unwrap_err();
    assert!(
        refused.message().contains("something that is no directory"),
        "{refused}"
    );
    assert_eq!(node.mounts().len(), 1);
    assert_eq!(node.records(), 1, "nothing is remembered of what was not mounted");
    node.unpublish(&volume);
}

#[test]
fn one_place_is_for_one_volume() {
    let node = Node::start();
    let volume = node.volume("bot-1");
    let second = Volume {
        id: "csi-second".to_owned(),
        ..volume.clone()
    };
    node.publish(&volume).unwrap();
    let refused = node.publish(&second).unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    assert!(
        refused.message().contains("another volume is published at"),
        "{refused}"
    );
    // Whose it is keeps it, whatever becomes of the other one.
    node.unpublish(&second);
    assert_eq!(node.mounts(), std::slice::from_ref(&volume.target));
    assert!(volume.seen().token().is_some());
    assert_eq!(node.records(), 1);

    // What is not mounted any more holds no place.
    rustix::mount::unmount(&volume.target, rustix::mount::UnmountFlags::DETACH).unwrap();
    node.publish(&second).unwrap();
    assert_eq!((node.mounts().len(), node.records()), (1, 1));
    node.unpublish(&volume);
    assert_eq!((node.mounts().len(), node.records()), (1, 1));
    node.unpublish(&second);
    assert_eq!((node.mounts().len(), node.records()), (0, 0));
}

#[test]
fn two_volumes_at_once_on_one_place_are_one_mount() {
    let node = Node::start();
    let volume = node.volume("bot-1");
    let channel = node.channel();
    let published = block_on(async {
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..8 {
            let id = format!("csi-{number}");
            calls.spawn(publish(channel.clone(), Volume { id, ..volume.clone() }));
        }
        calls.join_all().await
    });
    assert_eq!(published.iter().filter(|published| published.is_ok()).count(), 1);
    for refused in published.into_iter().filter_map(Result::err) {
        assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    }
    assert_eq!((node.mounts().len(), node.records()), (1, 1));
}
