//! gRPC for Python, with nothing of ours but the socket's path: what there is it learns by reflection.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};

use super::installed::{python, python_alone};
use crate::support::{AGENT_UID, Authority, Daemon, Emulator, Output, browse, is_root};

#[test]
fn an_agent_finds_and_uses_the_service_by_reflection() {
    let google = Emulator::start(&["--token-lifetime", "12s"]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest(
        "invoice-bot",
        "alice",
        &["google.gmail.send", "google.calendar.readonly"],
    );
    daemon.start();
    daemon
        .connect("alice", &["google.gmail.send", "google.calendar.readonly"])
        .expect_ok();
    let agent = daemon.wait_for_state("invoice-bot", "active");

    let mut program = python("grpc_agent.py");
    program.arg(agent.socket()).arg("3");
    let tokens = Output::of(&mut program).expect_ok().json();

    let tokens = tokens.as_array().unwrap();
    assert_eq!(tokens.len(), 3);
    let last = tokens.last().and_then(Value::as_str).unwrap();
    assert!(google.is_alive(last));
}

#[test]
fn a_refusal_says_why_and_where_it_is_fixed() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("invoice-bot", "alice", &["google.gmail.send"]);
    daemon.start();
    let agent = daemon.wait_for_state("invoice-bot", "not_connected");
    let mut program = python("grpc_unconnected.py");
    program.arg(agent.socket());
    let refused = Output::of(&mut program).expect_ok().json();
    assert_eq!(
        refused,
        json!({
            "code": "FAILED_PRECONDITION",
            "reason": "not_connected",
            "domain": "token-broker",
            "metadata": { "action_url": format!("{}/agents/invoice-bot", daemon.http()) },
        })
    );
}

#[test]
fn an_orchestrator_finds_and_uses_the_admin_service_and_nobody_else_does() {
    assert!(is_root(), "this takes on another uid: run it as root");
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("invoice-bot", "alice", &["google.gmail.send"]);
    daemon.start();
    daemon.wait_for_state("invoice-bot", "not_connected");
    let admin = |uid: Option<u32>| {
        let mut program = python("grpc_admin.py");
        program.arg(daemon.admin_socket());
        program.args(uid.map(|uid| uid.to_string()));
        Output::of(&mut program).expect_ok().json()
    };
    assert_eq!(admin(None), json!(["invoice-bot"]));
    assert_eq!(admin(Some(AGENT_UID)), "UNAVAILABLE");
    // Not by the socket's mode alone.
    fs::set_permissions(daemon.admin_socket(), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(admin(Some(AGENT_UID)), "UNAVAILABLE");
    assert!(
        daemon.log().contains(&format!("uid {AGENT_UID}")),
        "{}",
        daemon.log()
    );
}

/// `examples/orchestrator.py`, as its first lines say: messages made of the proto files, an agent, a consent.
#[test]
fn a_platform_creates_an_agent_and_sends_its_owner_to_the_consent() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.start();
    orchestrate(daemon.admin_socket().to_str().unwrap(), &[]);
}

/// The same from another machine.
#[test]
fn a_platform_on_another_machine_does_the_same_over_tls() {
    let google = Emulator::start(&[]);
    let authority = Authority::new();
    let daemon = Daemon::with_remote_admin(&google, &authority, &[]);
    let name = "spiffe://corp.example/orchestrator";
    daemon.list_clients(&[(name, "role = 'platform'")]);
    daemon.start();
    let (certificate, key) = authority.client(&[name]).put(&daemon.admin_tls(), "client");
    let variables = [
        ("TOKEN_BROKER_CERTIFICATE", certificate),
        ("TOKEN_BROKER_CERTIFICATE_KEY", key),
        ("TOKEN_BROKER_CA", daemon.admin_ca()),
    ];
    orchestrate(&format!("https://localhost:{}", daemon.admin_port()), &variables);
}

fn orchestrate(broker: &str, variables: &[(&str, PathBuf)]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let messages = tempfile::tempdir().unwrap();
    let mut protoc = python_alone();
    protoc
        .args(["-m", "grpc_tools.protoc", "-I"])
        .arg(root.join("proto"));
    for option in ["--python_out", "--grpc_python_out"] {
        protoc.arg(format!("{option}={}", messages.path().display()));
    }
    let files = ["types", "token", "admin"].map(|name| format!("tokenbroker/v1/{name}.proto"));
    Output::of(protoc.args(files)).expect_ok();

    let mut platform = python_alone()
        .arg("-u")
        .arg(root.join("examples/orchestrator.py"))
        .arg(broker)
        .args(["files-bot", "alice", "google.drive.readonly"])
        .envs(variables.iter().map(|(name, path)| (name, path)))
        .current_dir(messages.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(platform.stdout.take().unwrap()).lines();
    let mut next = || lines.next().expect("the platform says more").unwrap();
    assert!(next().starts_with("files-bot: AGENT_STATE_NOT_CONNECTED; mount /"));
    let page = next();
    let page = page.strip_prefix("send alice here: ").expect("a page for alice");
    assert_eq!(browse(page).status, 200);
    assert_eq!(next(), "connected alice@example.com; still missing: []");
    assert!(next().starts_with("files-bot: AGENT_STATE_ACTIVE; mount /"));
    assert!(platform.wait().unwrap().success());
}
