//! A pod: a sidecar and an agent, two containers of different users that share a folder and a network.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
};

use crate::{
    bundle::open_folder,
    container::Container,
    renewals::{LIFETIME, WRITE_TOKENS, next_token},
    support::{Daemon, Emulator},
};

const SEND: &str = "google.gmail.send";
/// As `fsGroup` has it.
const GROUP: u32 = 20_000;
const TOKEN: &str = "http://127.0.0.1:8422/computeMetadata/v1/instance/service-accounts/default/token";

#[test]
fn a_sidecar_supplies_the_containers_of_its_pod() {
    let google = Emulator::start(&LIFETIME);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    let agent = daemon.wait_for_state("bot", "not_connected");
    // What the kubelet makes of an emptyDir for a pod with fsGroup.
    let shared = open_folder();
    chown(shared.path(), None, Some(GROUP)).unwrap();
    fs::set_permissions(shared.path(), Permissions::from_mode(0o2777)).unwrap();

    let command = [
        "token-broker",
        "sidecar",
        "--from",
        "unix:///app/broker.sock",
        "--metadata",
        "127.0.0.1:8422",
    ];
    let mut sidecar = Container::without_mount(&command)
        .mount(agent.directory.clone(), "/app")
        .shares(shared.path(), GROUP)
        .start();
    // The startup probe, while nobody has connected.
    let probe = ["token-broker", "wait", "--timeout", "1s"];
    let said = sidecar.exec(&probe);
    assert_ne!(said.code, 0, "{said:?}");
    assert!(
        said.stderr.contains("http://"),
        "it says where to connect: {said:?}"
    );
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("bot", "active");
    sidecar
        .exec(&["token-broker", "wait", "--timeout", "60s"])
        .expect_ok();

    let mut events = agent.watch();
    let mut told = vec![next_token(&mut events)];
    let program = Container::without_mount(&["sh", "-c", WRITE_TOKENS])
        .uid(30_000)
        .shares(shared.path(), GROUP)
        .beside(&sidecar)
        .start();
    let first = program.wait_for_lines(1).remove(0);
    while told.last() != Some(&first) {
        told.push(next_token(&mut events));
    }
    let begin = told.len() - 1;
    told.extend((0..2).map(|_| next_token(&mut events)));
    assert_eq!(program.wait_for_lines(3)[..3], told[begin..]);
    let metadata = [
        "wget",
        "-q",
        "-O",
        "-",
        "--header",
        "Metadata-Flavor: Google",
        TOKEN,
    ];
    let answer = program.exec(&metadata).expect_ok().json();
    assert!(google.is_alive(answer["access_token"].as_str().unwrap()));

    sidecar.kill("TERM");
    assert_eq!(sidecar.wait(), 0, "a Job is not kept alive");
    let left = fs::read_to_string(shared.path().join("env")).unwrap();
    assert!(!left.contains("ya29."), "nobody would renew it: {left}");
}
