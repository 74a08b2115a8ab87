//! A pod asks for its agent's directory, and has it.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use token_broker::proto::csi::{
    GetPluginCapabilitiesRequest, GetPluginInfoRequest, NodeGetCapabilitiesRequest, NodeGetInfoRequest,
    ProbeRequest,
    identity_client::IdentityClient,
    node_client::NodeClient,
    node_service_capability::{Type, rpc},
};

use crate::{
    kubelet::{BILLING, Node, SEND, publish, unpublish},
    support::{block_on, wait_until},
};

#[test]
fn a_pod_sees_its_token_and_every_renewal_and_can_change_nothing() {
    let node = Node::start();
    let volume = node.volume("bot-1");
    node.publish(&volume).unwrap();
    let seen = volume.seen();
    assert_eq!(seen.variable("TOKEN_BROKER_STATE").unwrap(), "active");
    let first = seen.token().unwrap();
    assert_eq!(seen.get("/v1/token").expect_ok().json()["access_token"], first);

    wait_until("the pod to see a renewal", || {
        seen.token().is_some_and(|token| token != first)
    });
    for refused in [
        fs::write(seen.path("env"), "planted").unwrap_err(),
        fs::write(seen.path("planted"), "").unwrap_err(),
        fs::remove_file(seen.path("env")).unwrap_err(),
    ] {
        assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
    }
    let options = rustix::fs::statvfs(&volume.target).unwrap().f_flag;
    let wanted = rustix::fs::StatVfsMountFlags::NOSUID
        | rustix::fs::StatVfsMountFlags::NODEV
        | rustix::fs::StatVfsMountFlags::NOEXEC;
    assert!(options.contains(wanted), "{options:?}");

    // The kubelet asks again and again, and it is one mount.
    node.publish(&volume).unwrap();
    assert_eq!(node.mounts(), std::slice::from_ref(&volume.target));
    let audit = node.daemon.audit();
    assert!(
        audit.contains("volume.publish") && audit.contains("billing/bot-1"),
        "{audit}"
    );

    node.unpublish(&volume);
    assert_eq!(
        (node.mounts(), volume.target.exists(), node.records()),
        (vec![], false, 0)
    );
    node.unpublish(&volume);
    let agents_own = node.daemon.agent("invoice-bot");
    assert!(agents_own.token().is_some(), "the agent's directory is as it was");
    let own = fs::read_to_string(node.kubernetes.token_file()).unwrap();
    node.daemon.scan_for_secrets(&[&volume.token, &own]);
}

/// The daemon has mounts of its own, and what it mounts spreads to the node, as with `mountPropagation: Bidirectional`.
#[test]
fn what_a_pod_of_the_daemon_mounts_is_read_only_on_the_node() {
    let mut node = Node::prepare();
    node.share();
    node.daemon.launcher = ["unshare", "--mount", "--propagation", "unchanged"]
        .map(str::to_owned)
        .into();
    node.allow("invoice-bot", BILLING);
    node.daemon.start();
    node.daemon.connect("alice", &[SEND]).expect_ok();
    node.daemon.wait_for_state("invoice-bot", "active");
    let volume = node.volume("bot-1");
    let wanted = rustix::fs::StatVfsMountFlags::RDONLY
        | rustix::fs::StatVfsMountFlags::NOSUID
        | rustix::fs::StatVfsMountFlags::NODEV
        | rustix::fs::StatVfsMountFlags::NOEXEC;
    // A daemon that is started again, and finds what is mounted already, as well.
    for _ in 0..2 {
        node.publish(&volume).unwrap();
        assert!(volume.seen().token().is_some());
        let options = rustix::fs::statvfs(&volume.target).unwrap().f_flag;
        assert!(options.contains(wanted), "{options:?}");
        assert_eq!(node.mounts(), std::slice::from_ref(&volume.target));
        node.daemon.restart();
    }
    node.unpublish(&volume);
    assert_eq!((node.mounts(), node.records()), (vec![], 0));
}

#[test]
fn calls_at_once_and_repeated_leave_one_mount_or_none() {
    let node = Node::start();
    let volumes: Vec<_> = (0..8)
        .map(|number| node.volume(&format!("bot-{number}")))
        .collect();
    let channel = node.channel();
    let all = |unpublishing: bool| {
        block_on(async {
            let mut calls = tokio::task::JoinSet::new();
            for _ in 0..8 {
                for volume in &volumes {
                    let (channel, volume) = (channel.clone(), volume.clone());
                    if unpublishing {
                        calls.spawn(unpublish(channel, volume));
                    } else {
                        calls.spawn(publish(channel, volume));
                    }
                }
            }
            while let Some(ended) = calls.join_next().await {
                ended.unwrap().unwrap();
            }
        });
    };
    all(false);
    let mut mounts = node.mounts();
    mounts.sort();
    assert_eq!(
        mounts,
        volumes
            .iter()
            .map(|volume| volume.target.clone())
            .collect::<Vec<_>>()
    );
    assert!(volumes.iter().all(|volume| volume.seen().token().is_some()));
    all(true);
    assert_eq!((node.mounts().len(), node.records()), (0, 0));

    // Mixed up, and callers that go away in the middle: whatever came of it, the last word counts.
    block_on(async {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..8 {
            for volume in &volumes {
                calls.spawn(publish(channel.clone(), volume.clone()));
                calls.spawn(unpublish(channel.clone(), volume.clone()));
            }
        }
        for _ in 0..40 {
            calls.join_next().await.unwrap().unwrap().unwrap();
        }
        calls.abort_all();
        while calls.join_next().await.is_some() {}
    });
    all(true);
    assert_eq!((node.mounts().len(), node.records()), (0, 0));
}

#[test]
fn an_fs_group_is_respected_where_the_manifest_has_it_and_refused_elsewhere() {
    let node = Node::start();
    let mut volume = node.volume("bot-1");
    volume.fs_group = "5151".to_owned();
    let refused = node.publish(&volume).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    assert!(refused.message().contains("Write `gid: 5151` there"), "{refused}");
    assert!(node.mounts().is_empty());

    node.allow("invoice-bot", &format!("gid: 5151\n{BILLING}"));
    wait_until("the new manifest to be in force", || {
        node.publish(&volume).is_ok()
    });
    let env = volume.target.join("env").metadata().unwrap();
    assert_eq!((env.gid(), env.mode() & 0o777), (5151, 0o440));
    node.unpublish(&volume);
}

#[test]
fn of_all_privileges_it_keeps_what_mounting_takes() {
    let node = Node::start();
    let status = fs::read_to_string(format!("/proc/{}/status", node.daemon.pid())).unwrap();
    // CAP_CHOWN and CAP_SYS_ADMIN.
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(
            status.contains(&format!("{set}:\t0000000000200001\n")),
            "{status}"
        );
    }
    assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
}

#[test]
fn it_says_who_it_is_and_what_it_can() {
    let node = Node::prepare();
    node.daemon.start();
    let mut identity = IdentityClient::new(node.channel());
    let info = block_on(identity.get_plugin_info(GetPluginInfoRequest {}))
        .unwrap()
        .into_inner();
    assert_eq!(
        (info.name.as_str(), info.vendor_version.as_str()),
        ("token-broker.dev", env!("CARGO_PKG_VERSION"))
    );
    let capabilities = block_on(identity.get_plugin_capabilities(GetPluginCapabilitiesRequest {}));
    assert!(capabilities.unwrap().into_inner().capabilities.is_empty());
    assert_eq!(
        block_on(identity.probe(ProbeRequest {}))
            .unwrap()
            .into_inner()
            .ready,
        Some(true)
    );

    let mut client = NodeClient::new(node.channel());
    let info = block_on(client.node_get_info(NodeGetInfoRequest {}))
        .unwrap()
        .into_inner();
    assert_eq!(
        (info.node_id.as_str(), info.accessible_topology),
        ("node-1", None)
    );
    let answer = block_on(client.node_get_capabilities(NodeGetCapabilitiesRequest {}))
        .unwrap()
        .into_inner();
    let [capability] = answer.capabilities.as_slice() else {
        panic!("{answer:?}");
    };
    let Some(Type::Rpc(capability)) = capability.r#type else {
        panic!("{answer:?}");
    };
    assert_eq!(capability.r#type(), rpc::Type::VolumeMountGroup);
    // Nobody but root and the daemon's own user may call it.
    assert_eq!(node.endpoint().metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(node.daemon.terminate(), 0);
    assert!(
        !Path::new(&node.endpoint()).exists(),
        "the socket goes with the daemon"
    );
}
