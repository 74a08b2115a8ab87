//! What the pod's containers have of a broker over TLS: files, HTTP, gRPC, streams, metadata.

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    thread,
};

use http::Method;
use serde_json::Value;
use token_broker::proto::v1::{GetStatusRequest, watch_access_token_response::Event};

use crate::{
    installed::python,
    pod::Pod,
    remote::{Remote, free_port},
    support::{AGENT_UID, Answer, Output, block_on, program_as, request},
};

#[test]
fn files_http_and_grpc_say_what_the_broker_says_across_renewals() {
    let remote = Remote::start();
    let pod = remote.running();
    let agent = pod.agent();
    let first = pod.wait_for_token(None);
    let mut events = agent.watch();
    let mut grpc = agent.grpc();
    let mut stream = grpc.watch();
    let second = pod.wait_for_token(Some(&first));
    assert!(remote.google.is_alive(&second));
    events.until("the renewal", |event, data| {
        event == "token" && data["access_token"] != first.as_str()
    });
    let renewed = block_on(async {
        loop {
            if let Some(Event::Token(token)) = stream.message().await.unwrap().unwrap().event
                && token.access_token != first
            {
                return token.access_token.clone();
            }
        }
    });
    assert!(renewed.starts_with("ya29.emu-"));

    let token = agent.get("/v1/token").expect_ok().json();
    assert_eq!(token["capabilities"][0], "google.gmail.send");
    assert!(grpc.token().unwrap().access_token.starts_with("ya29.emu-"));
    let status = block_on(grpc.0.get_status(GetStatusRequest {}))
        .unwrap()
        .into_inner()
        .status
        .unwrap();
    assert_eq!(status.agent, "invoice-bot");
    assert_eq!(agent.get("/v1/status").json()["state"], "active");
    assert_eq!(agent.status()["owner"], "alice");
    // A query is answered by the broker, refusals included.
    let refused = agent.get("/v1/token?capability=google.drive");
    assert_eq!(refused.json()["code"], "not_declared");
    assert_eq!(agent.get("/nothing").status, 404);

    // One question, however many requests and streams.
    assert_eq!(remote.kubernetes.reviews(), 1);
    let audit = remote.daemon.audit();
    let lines: Vec<&str> = audit.lines().filter(|line| line.contains("remote.use")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("billing/invoice-bot") && lines[0].contains("allowed"),
        "{}",
        lines[0]
    );
    remote.daemon.scan_for_secrets(&["canary-pod"]);
    assert!(
        !pod.log().contains("ya29.") && !pod.log().contains("canary"),
        "{}",
        pod.log()
    );
}

#[test]
fn what_it_writes_and_answers_is_what_the_nodes_daemon_writes() {
    let remote = Remote::with_lifetime("1h");
    let pod = remote.running();
    let (node, agent) = (remote.daemon.agent("invoice-bot"), pod.agent());
    for file in ["env", "access_token", "status.json"] {
        assert_eq!(agent.read(file), node.read(file), "{file}");
    }
    for path in ["/v1/env", "/v1/status"] {
        let (told, said) = (agent.get(path).expect_ok(), node.get(path).expect_ok());
        assert_eq!(told.text(), said.text(), "{path}");
        for header in ["content-type", "cache-control"] {
            assert_eq!(told.header(header), said.header(header), "{header} of {path}");
        }
    }
    remote
        .daemon
        .cli(&["integrations", "disconnect", "--owner", "alice", "--yes"])
        .expect_ok();
    pod.wait_for_none();
    for file in ["env", "status.json"] {
        assert_eq!(agent.read(file), node.read(file), "{file}");
    }
}

#[test]
fn files_are_for_the_user_and_for_the_group_of_a_setgid_directory() {
    let remote = Remote::start();
    let pod = remote.running();
    for (file, mode) in [
        ("env", 0o400),
        ("access_token", 0o400),
        ("status.json", 0o400),
        ("broker.sock", 0o600),
    ] {
        assert_eq!(pod.mode(file), mode, "{file}");
    }
    let mut shared = remote.pod();
    let directory = shared.agent().directory;
    std::os::unix::fs::chown(&directory, None, Some(2000)).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o2770)).unwrap();
    shared.start(&remote.options(&shared));
    shared.wait_until_ready();
    for (file, mode) in [
        ("env", 0o440),
        ("access_token", 0o440),
        ("status.json", 0o440),
        ("broker.sock", 0o660),
    ] {
        assert_eq!(shared.mode(file), mode, "{file}");
        let group =
            std::os::unix::fs::MetadataExt::gid(&std::fs::metadata(shared.agent().path(file)).unwrap());
        assert_eq!(group, 2000, "{file}");
    }
}

#[test]
fn nothing_is_written_while_nothing_changes() {
    let remote = Remote::with_lifetime("1h");
    let pod = remote.running();
    let stamp = |file: &str| {
        let file = std::fs::metadata(pod.agent().path(file)).unwrap();
        (
            std::os::unix::fs::MetadataExt::ino(&file),
            file.modified().unwrap(),
        )
    };
    let files = ["env", "access_token", "status.json"];
    let before = files.map(stamp);
    // Another capability of another agent of the same owner, and a description: the token stays.
    let asked = remote.daemon.agent("invoice-bot").get("/v1/token").json();
    remote.daemon.kill9();
    remote.daemon.start();
    remote.daemon.wait_for_state("invoice-bot", "active");
    crate::support::wait_until("the sidecar to be back", || {
        pod.log().matches("the broker answers").count() > 0
            || pod
                .agent()
                .try_get("/v1/token?capability=google.gmail.send")
                .is_ok_and(|answer| answer.status == 200)
    });
    assert_eq!(
        pod.agent().get("/v1/token").json()["access_token"],
        asked["access_token"]
    );
    assert_eq!(files.map(stamp), before);
}

/// A pod with a metadata server.
fn with_metadata(remote: &Remote) -> (Pod, String) {
    let mut pod = remote.pod();
    let host = format!("127.0.0.1:{}", free_port());
    let mut options = remote.options(&pod);
    options.extend(["--metadata".to_owned(), host.clone()]);
    pod.start(&options);
    pod.wait_until_ready();
    (pod, host)
}

fn metadata(host: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    request(
        Method::GET,
        &format!("http://{host}{path}"),
        headers,
        String::new(),
    )
    .unwrap()
}

const TOKEN: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

#[test]
fn the_metadata_port_speaks_to_programs_of_the_pod_alone() {
    let remote = Remote::start();
    let (_pod, host) = with_metadata(&remote);
    let flavor = ("metadata-flavor", "Google");
    let answer = metadata(&host, TOKEN, &[flavor]).expect_ok();
    assert_eq!(answer.header("metadata-flavor"), "Google");
    assert!(
        answer.json()["access_token"]
            .as_str()
            .unwrap()
            .starts_with("ya29.")
    );
    let email = metadata(
        &host,
        "/computeMetadata/v1/instance/service-accounts/default/email",
        &[flavor],
    );
    assert_eq!(email.text(), "invoice-bot@token-broker.internal");
    assert_eq!(metadata(&host, TOKEN, &[]).status, 403);
    assert_eq!(
        metadata(&host, TOKEN, &[flavor, ("x-forwarded-for", "10.0.0.1")]).status,
        403
    );
    assert_eq!(metadata(&host, "/v1/token", &[flavor]).status, 404);
    // A browser that was led here says the name that it was led by.
    let mut stream = TcpStream::connect(&host).unwrap();
    write!(
        stream,
        "GET {TOKEN} HTTP/1.1\r\nHost: evil.example\r\nMetadata-Flavor: Google\r\n\r\n"
    )
    .unwrap();
    let mut refused = String::new();
    stream.read_to_string(&mut refused).unwrap();
    assert!(
        refused.starts_with("HTTP/1.1 403") && !refused.contains("ya29."),
        "{refused}"
    );
}

#[test]
fn the_metadata_port_answers_what_it_heard_while_the_broker_is_away() {
    let remote = Remote::with_lifetime("1h");
    let (_pod, host) = with_metadata(&remote);
    let flavor = ("metadata-flavor", "Google");
    let ask = |path: &str| metadata(&host, &format!("/computeMetadata/v1/{path}"), &[flavor]);
    let paths = [
        "instance/service-accounts/default/email",
        "instance/service-accounts/default/scopes",
        "instance/service-accounts/?recursive=true",
        "project/project-id",
        "universe/universe-domain?alt=json",
        "instance/no-such-thing",
        "",
    ];
    let told = |answer: Answer| (answer.status.as_u16(), answer.text().to_owned());
    let before = paths.map(|path| told(ask(path)));
    assert_eq!(before[0].1, "invoice-bot@token-broker.internal");
    remote.daemon.kill9();
    for (path, before) in paths.into_iter().zip(before) {
        let answer = ask(path);
        assert_eq!(answer.header("metadata-flavor"), "Google", "{path}");
        assert_eq!(told(answer), before, "{path}");
    }
    assert_eq!(
        metadata(&host, "/computeMetadata/v1/project/project-id", &[]).status,
        403
    );
}

#[test]
fn googles_python_library_works_by_the_metadata_port_across_renewals() {
    let capabilities = ["google.gmail.readonly", "google.calendar.readonly"];
    let remote = Remote::connected("16s", &capabilities);
    let (_pod, host) = with_metadata(&remote);
    let base_url = remote.google.base_url.clone();
    let run = thread::spawn(move || {
        let mut program = python("library_agent.py");
        program
            .env("GCE_METADATA_HOST", &host)
            .env("GCE_METADATA_IP", &host)
            .env("GCE_METADATA_ROOT", &host)
            .env("METADATA_SERVER_DETECTION", "assume-present")
            .env("NO_PROXY", "127.0.0.1")
            .env("GCE_METADATA_MTLS_MODE", "none")
            .env("HOME", "/nonexistent");
        Output::of(program.args([&base_url, "3"]))
    });
    let output = run.join().unwrap().expect_ok();
    let seen = output.json();
    let tokens: HashSet<&str> = seen["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(tokens.len() >= 3, "{seen}");
    assert_eq!(seen["address"], "alice@example.com");
    assert_eq!(remote.google.count("api_unauthorized"), 0);
}

#[test]
fn a_sidecar_needs_no_root() {
    let remote = Remote::start();
    let mut pod = remote.pod();
    let directory = pod.agent().directory;
    // As the kubelet makes an emptyDir with `fsGroup`.
    std::os::unix::fs::chown(&directory, None, Some(2000)).unwrap();
    for (folder, mode) in [(pod.folder(), 0o755), (directory.as_path(), 0o2777)] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let program = Path::new(env!("CARGO_BIN_EXE_token-broker"));
    pod.start_by(program_as(AGENT_UID, program), &remote.options(&pod));
    pod.wait_until_ready();
    assert_eq!((pod.mode("env"), pod.mode("broker.sock")), (0o440, 0o660));
    let first = pod.wait_for_token(None);
    pod.wait_for_token(Some(&first));
    assert_eq!(pod.end(rustix::process::Signal::TERM), 0);
    assert!(pod.agent().token().is_none());
}
