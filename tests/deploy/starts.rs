//! The daemon starts with what is in `deploy/kubernetes`, with the rights that its container has there, and serves.

use std::{
    net::{SocketAddr, TcpStream},
    os::unix::fs::{FileTypeExt, MetadataExt},
};

use serde_json::Value;

use crate::{Rendered, deploy, forms, pod::Pod, succeeds, support::Emulator, tool};

/// What runs the pods.
fn workload(rendered: &Rendered) -> Value {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&rendered.text()).unwrap();
    let runs = |document: &Value| document["kind"] == "DaemonSet" || document["kind"] == "StatefulSet";
    let mut workloads = documents.into_iter().filter(runs);
    let workload = workloads.next().expect("there is a workload");
    assert!(workloads.next().is_none(), "there is one workload");
    workload
}

/// The port of this name that the container declares.
fn port(workload: &Value, name: &str) -> Option<u64> {
    let ports = &workload["spec"]["template"]["spec"]["containers"][0]["ports"];
    let port = ports.as_array()?.iter().find(|port| port["name"] == name)?;
    port["containerPort"].as_u64()
}

#[test]
fn every_form_starts_with_its_own_rights_and_gives_an_agent_its_token() {
    let google = Emulator::start(&[]);
    for form in forms() {
        let rendered = Rendered::kustomize(&form);
        let (workload, config) = (workload(&rendered), rendered.config());
        // Probes and services go to the ports that the daemon listens on.
        let listens = |address: SocketAddr| Some(u64::from(address.port()));
        assert_eq!(port(&workload, "http"), listens(config.http_listen), "{form}");
        let remote = config.remote.as_ref().map(|remote| remote.listen);
        assert_eq!(port(&workload, "https"), remote.and_then(listens), "{form}");
        let admin = config.admin.as_ref().map(|admin| admin.listen);
        assert_eq!(port(&workload, "admin"), admin.and_then(listens), "{form}");

        let agents = deploy().join("examples/agents.yaml");
        let manifest = succeeds(tool("manifests").args(["data", "invoice-bot.yaml"]).arg(agents));
        // As the example says: who may not change owners takes no uid.
        let central = ["overlays/central", "overlays/remote-admin"].contains(&form.as_str());
        let kept = |line: &&str| !(central && line.starts_with("uid:"));
        let manifest: Vec<&str> = manifest.lines().filter(kept).collect();
        let text = rendered.data("config.toml");
        let pod = Pod::start(&workload, &text, &manifest.join("\n"), &google);
        pod.probe();
        let agent = pod.connect(config.runtime_dir.to_str().unwrap());
        let uid = if central { 65532 } else { 1000 };
        assert_eq!(agent.path("env").metadata().unwrap().uid(), uid, "{form}");
        agent.get("/v1/token").expect_ok();

        if let Some(csi) = &config.csi {
            for path in [Some(&csi.endpoint), csi.registration.as_ref()] {
                let socket = pod.here(path.unwrap().to_str().unwrap()).unwrap();
                assert!(socket.metadata().unwrap().file_type().is_socket(), "{form}");
            }
        }
        let over_tls = |name: &str| name.contains("REMOTE") || name.contains("ADMIN");
        let listeners = pod.daemon.environment.iter().filter(|(name, _)| over_tls(name));
        for (_, address) in listeners {
            TcpStream::connect(address).unwrap();
        }
        assert_eq!(pod.daemon.terminate(), 0, "{form}: {}", pod.daemon.log());
    }
}

#[test]
fn the_daemon_says_what_it_lacks_where_a_manifest_gives_it_too_little() {
    let google = Emulator::start(&[]);
    let rendered = Rendered::kustomize("overlays/central");
    let mut workload = workload(&rendered);
    // The kubelet's own default.
    for volume in workload["spec"]["template"]["spec"]["volumes"]
        .as_array_mut()
        .unwrap()
    {
        if volume["name"] == "secret" {
            volume["secret"]["defaultMode"] = 0o644.into();
        }
    }
    let refused = Pod::try_start(&workload, &rendered.data("config.toml"), "", &google).err();
    let said = refused.expect("it refuses a key that others can read").stderr;
    assert!(said.contains("open to others than its owner"), "{said}");
}
