//! Somebody removes the sockets and notes of the driver while it runs.

use std::{fs, os::unix::net::UnixStream};

use crate::{kubelet::Node, support::wait_until};

#[test]
fn sockets_and_notes_of_the_driver_are_made_again() {
    let node = Node::start();
    let volume = node.volume("bot-1");
    node.publish(&volume).unwrap();
    let sockets = [node.endpoint(), node.registration()];
    for socket in &sockets {
        assert!(UnixStream::connect(socket).is_ok(), "{}", socket.display());
        fs::remove_file(socket).unwrap();
    }
    fs::remove_dir_all(node.daemon.runtime_dir().join("volumes")).unwrap();
    wait_until("everything to be made again", || {
        let answer = sockets.iter().all(|socket| UnixStream::connect(socket).is_ok());
        answer && node.daemon.runtime_dir().join("volumes").exists() && node.records() == 1
    });
    // What is noted again is what was noted: after a restart the volume is known.
    node.daemon.restart();
    node.unpublish(&volume);
    assert_eq!((node.mounts().len(), node.records()), (0, 0));
}
