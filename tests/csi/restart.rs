//! The daemon goes and comes back, and pods come and go meanwhile.

use std::fs;

use crate::{kubelet::Node, support::wait_until};

#[test]
fn what_was_published_outlives_the_daemon() {
    let node = Node::start();
    let volume = node.volume("bot-1");
    node.publish(&volume).unwrap();
    let first = volume.seen().token().unwrap();
    node.daemon.kill9();
    assert_eq!(
        volume.seen().token().unwrap(),
        first,
        "the files stay while there is no daemon"
    );
    node.daemon.start();
    wait_until("the pod to see a renewal", || {
        volume.seen().token().is_some_and(|token| token != first)
    });
    assert!(volume.seen().get("/v1/token").status.is_success());
    node.publish(&volume).unwrap();
    assert_eq!(node.mounts(), std::slice::from_ref(&volume.target));
    // One that the daemon was told of before its restart goes as any other.
    node.daemon.restart();
    node.unpublish(&volume);
    assert_eq!(
        (node.mounts(), volume.target.exists(), node.records()),
        (vec![], false, 0)
    );
}

#[test]
fn what_is_left_of_vanished_pods_is_cleaned_up() {
    let node = Node::start();
    let [stays, forgotten, gone] = ["bot-1", "bot-2", "bot-3"].map(|pod| node.volume(pod));
    for volume in [&stays, &forgotten, &gone] {
        node.publish(volume).unwrap();
    }
    node.daemon.kill9();
    // The kubelet removed its own file and did not get further, and somebody cleaned up by hand.
    fs::remove_file(forgotten.target.with_file_name("vol_data.json")).unwrap();
    rustix::mount::unmount(&gone.target, rustix::mount::UnmountFlags::empty()).unwrap();
    fs::remove_dir_all(gone.target.parent().unwrap()).unwrap();
    node.daemon.start();
    wait_until("the volumes to be tidied up", || node.records() == 1);
    assert_eq!(node.mounts(), std::slice::from_ref(&stays.target));
    assert!(!forgotten.target.exists());
    assert!(stays.seen().token().is_some());
    // The kubelet may still come for them.
    for volume in [&stays, &forgotten, &gone] {
        node.unpublish(volume);
    }
    assert_eq!((node.mounts().len(), node.records()), (0, 0));
}

#[test]
fn what_a_daemon_was_mounting_when_it_was_killed_is_taken_away() {
    let node = Node::start();
    node.daemon.kill9();
    let stage = node.daemon.runtime_dir().join("volumes/0a1b.stage");
    fs::create_dir(&stage).unwrap();
    rustix::mount::mount_bind(node.daemon.agent("invoice-bot").directory, &stage).unwrap();
    node.daemon.start();
    assert!(!stage.exists());
    assert!(node.daemon.agent("invoice-bot").token().is_some());
}

#[test]
fn a_mount_without_its_options_is_replaced() {
    let node = Node::start();
    let volume = node.volume("bot-1");
    // By whomever: the daemon mounts with them.
    fs::create_dir(&volume.target).unwrap();
    rustix::mount::mount_bind(node.daemon.agent("invoice-bot").directory, &volume.target).unwrap();
    node.publish(&volume).unwrap();
    assert_eq!(node.mounts(), std::slice::from_ref(&volume.target));
    let options = rustix::fs::statvfs(&volume.target).unwrap().f_flag;
    assert!(
        options.contains(rustix::fs::StatVfsMountFlags::RDONLY),
        "{options:?}"
    );
    node.unpublish(&volume);
}
