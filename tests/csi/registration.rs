//! The kubelet learns of the driver from the daemon itself.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use token_broker::proto::{
    csi::{
        GetPluginInfoRequest, NodeGetInfoRequest, identity_client::IdentityClient, node_client::NodeClient,
    },
    pluginregistration::{
        InfoRequest, PluginInfo, RegistrationStatus, registration_client::RegistrationClient,
    },
};

use crate::{
    kubelet::Node,
    support::{block_on, channel, wait_until},
};

/// What the kubelet asks at a socket in its folder.
fn info(socket: &Path) -> PluginInfo {
    let answer = block_on(RegistrationClient::new(channel(socket)).get_info(InfoRequest {}));
    answer.unwrap().into_inner()
}

/// What it says after that.
pub(crate) fn notify(socket: &Path, plugin_registered: bool, error: &str) {
    let status = RegistrationStatus {
        plugin_registered,
        error: error.to_owned(),
    };
    block_on(RegistrationClient::new(channel(socket)).notify_registration_status(status)).unwrap();
}

/// The sockets that the kubelet would look at: names with a dot before them are none to it.
fn sockets(node: &Node) -> Vec<PathBuf> {
    let entries = fs::read_dir(node.registration().parent().unwrap()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'))
        .collect()
}

#[test]
fn the_kubelet_finds_the_driver_and_calls_it() {
    let node = Node::start();
    let socket = node.registration();
    assert_eq!(sockets(&node), std::slice::from_ref(&socket));
    assert_eq!(
        fs::metadata(&socket).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    let info = info(&socket);
    assert_eq!(
        (info.r#type.as_str(), info.name.as_str()),
        ("CSIPlugin", "token-broker.dev")
    );
    assert_eq!(info.supported_versions, ["1.0.0"]);
    // As the kubelet goes on: to the endpoint, for the driver's name and the node's.
    let driver = channel(&PathBuf::from(&info.endpoint));
    let plugin = block_on(IdentityClient::new(driver.clone()).get_plugin_info(GetPluginInfoRequest {}));
    assert_eq!(plugin.unwrap().into_inner().name, info.name);
    let found = block_on(NodeClient::new(driver).node_get_info(NodeGetInfoRequest {}));
    assert_eq!(found.unwrap().into_inner().node_id, "node-1");

    notify(&socket, true, "");
    notify(&socket, false, "driver name is taken");
    wait_until("the log to tell what came of it", || {
        let log = node.daemon.log();
        log.contains("the kubelet registered the driver")
            && log.contains("pods get no volumes: driver name is taken")
    });
}

/// By the Go libraries that the kubelet has, with its connections: it names a plugin's socket by its path alone, which
/// then is the host of its requests.
#[test]
fn the_kubelets_own_client_registers_the_driver() {
    let node = Node::start();
    let kubelet = std::env::var_os("TOKEN_BROKER_TEST_CSI_REGISTRATION")
        .expect("the kubelet's client is missing: tests/run --test csi builds it");
    let said = Command::new(kubelet).arg(node.registration()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stderr), "");
    assert_eq!(
        String::from_utf8_lossy(&said.stdout),
        "CSIPlugin token-broker.dev [1.0.0]\nnode-1\n"
    );
    wait_until("the log to tell that it is registered", || {
        node.daemon.log().contains("the kubelet registered the driver")
    });
}

#[test]
fn the_socket_goes_with_the_daemon_and_comes_back_with_it() {
    let node = Node::start();
    let socket = node.registration();
    assert_eq!(node.daemon.terminate(), 0);
    assert!(sockets(&node).is_empty(), "the kubelet forgets the driver");
    node.daemon.start();
    assert_eq!(info(&socket).name, "token-broker.dev");
    // What a killed daemon leaves is replaced.
    node.daemon.kill9();
    assert!(socket.exists());
    node.daemon.start();
    assert_eq!(info(&socket).name, "token-broker.dev");
    assert_eq!(sockets(&node), [socket]);
}
