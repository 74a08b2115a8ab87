//! What Google's own libraries ask: the credential file with its token endpoint, and the metadata server.

use std::{fs, os::unix::fs::MetadataExt};

use http::Method;
use serde_json::json;

use crate::support::{Agent, Daemon, Emulator, PATIENCE, get, is_root, request, wait_for, wait_until};

const SEND: &str = "google.gmail.send";
const TOKEN: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
const REFRESH: &str = "grant_type=refresh_token&refresh_token=bot";

/// Alice's account, and her agent `bot` with both ways for libraries.
fn running() -> (Emulator, Daemon, Agent) {
    let google = Emulator::start(&[]);
    let daemon = Daemon::for_libraries(&google, "bot");
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    let agent = daemon.wait_for_state("bot", "active");
    (google, daemon, agent)
}

#[test]
fn one_and_the_same_token_by_every_way() {
    let (google, daemon, agent) = running();
    let (token, refreshes) = (agent.token().unwrap(), google.count("refresh"));
    let file = agent.credential_file().unwrap();
    let answer = file.refresh().expect_ok();
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let answer = answer.json();
    assert_eq!(answer["access_token"], token);
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["scope"], "https://www.googleapis.com/auth/gmail.send");
    assert!(answer["expires_in"].as_u64().unwrap() > 3000, "{answer}");
    assert!(answer.get("refresh_token").is_none(), "libraries would keep it");
    assert_eq!(daemon.metadata(TOKEN).expect_ok().json()["access_token"], token);
    assert_eq!(
        google.count("refresh"),
        refreshes,
        "Google was asked for nothing more"
    );

    if is_root() {
        let owner = |name: &str| {
            let file = fs::metadata(agent.path(name)).unwrap();
            (file.uid(), file.gid(), file.mode())
        };
        assert_eq!(owner("adc.json"), owner("env"));
    }
    // Each use is the agent's own.
    wait_until("the audit trail to tell", || {
        let audit = daemon.audit();
        audit.contains("agent:bot") && audit.contains("token.used")
    });
    daemon.scan_for_secrets(&[file.get("client_secret")]);
}

#[test]
fn who_read_the_file_once_goes_on_after_a_restart_and_not_after_the_agent() {
    let (_google, daemon, agent) = running();
    let before = agent.credential_file().unwrap();
    daemon.restart();
    daemon.wait_for_state("bot", "active");
    let now = agent.credential_file().unwrap();
    assert_eq!(now.get("client_secret"), before.get("client_secret"));
    assert_eq!(now.post("bot", before.get("client_secret"), REFRESH).status, 200);
    daemon.kill9();
    daemon.start();
    daemon.wait_for_state("bot", "active");
    let now = agent.credential_file().unwrap();
    assert_eq!(now.get("client_secret"), before.get("client_secret"));

    fs::remove_file(daemon.agents_d().join("bot.yaml")).unwrap();
    wait_until("the agent to go", || !agent.directory.exists());
    let refused = now.refresh();
    assert_eq!(refused.status, 401);
    assert_eq!(refused.json()["error"], "invalid_client");
    // While the daemon is down, another takes the name.
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.restart();
    daemon.wait_for_state("bot", "active");
    let other = agent.credential_file().unwrap();
    assert_ne!(other.get("client_secret"), before.get("client_secret"));
    assert_eq!(other.refresh().status, 200);
    assert_eq!(
        other.post("bot", before.get("client_secret"), REFRESH).status,
        401
    );
}

#[test]
fn an_agent_that_comes_and_goes_while_the_daemon_runs_has_its_file() {
    let (_google, daemon, _agent) = running();
    daemon.write_manifest("second", "alice", &[SEND]);
    let second = daemon.agent("second");
    let file = wait_for("its credential file", || second.credential_file());
    assert_eq!(file.get("client_id"), "second");
    assert_eq!(file.refresh().status, 200);
    fs::remove_file(daemon.agents_d().join("second.yaml")).unwrap();
    wait_until("the agent to go", || !second.directory.exists());
    daemon.write_manifest("second", "alice", &[SEND]);
    let again = wait_for("its credential file", || second.credential_file());
    assert_ne!(again.get("client_secret"), file.get("client_secret"));
    assert_eq!(file.refresh().status, 401);
    assert_eq!(again.refresh().status, 200);
}

#[test]
fn without_a_listener_the_file_goes_and_its_secret_with_it() {
    let (_google, mut daemon, agent) = running();
    let before = agent.credential_file().unwrap();
    let config = fs::read_to_string(daemon.config_file()).unwrap();
    let off = config.replace("\nlisten = \"127.0.0.1:0\"", "\n# listen");
    let off = off.replace("\nagent = \"bot\"", "\n# agent");
    assert_ne!(off, config);
    fs::write(daemon.config_file(), off).unwrap();
    daemon.restart();
    daemon.wait_for_state("bot", "active");
    assert!(agent.credential_file().is_none(), "the file is still there");
    daemon
        .environment
        .push(("TOKEN_BROKER_ADC_LISTEN".to_owned(), "127.0.0.1:0".to_owned()));
    daemon.restart();
    daemon.wait_for_state("bot", "active");
    let after = agent.credential_file().unwrap();
    assert_ne!(after.get("client_secret"), before.get("client_secret"));
}

#[test]
fn a_refusal_of_the_token_endpoint_is_what_oauth_says() {
    let (_google, daemon, agent) = running();
    let file = agent.credential_file().unwrap();
    let (name, secret) = (file.get("client_id"), file.get("client_secret"));
    let cases = [
        (file.post(name, "wrong", REFRESH), 401, "invalid_client"),
        (file.post("nobody", secret, REFRESH), 401, "invalid_client"),
        (file.post_with(&[], REFRESH), 401, "invalid_client"),
        (
            file.post_with(&[("authorization", "Bearer x")], REFRESH),
            401,
            "invalid_client",
        ),
        (
            file.post_with(&[("authorization", "Basic !!!")], REFRESH),
            401,
            "invalid_client",
        ),
        (file.post(name, secret, ""), 400, "invalid_request"),
        (
            file.post(name, secret, "grant_type=refresh_token"),
            400,
            "invalid_request",
        ),
        (
            file.post(name, secret, "grant_type=client_credentials"),
            400,
            "unsupported_grant_type",
        ),
        (
            file.post(name, secret, "grant_type=refresh_token&refresh_token=1//x"),
            400,
            "invalid_grant",
        ),
        (
            file.post(name, secret, &"x".repeat(20_000)),
            400,
            "invalid_request",
        ),
    ];
    for (answer, status, error) in cases {
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.json()["error"], error);
        assert!(!answer.text().contains("access_token"), "{}", answer.text());
        let challenge = if status == 401 {
            "Basic realm=\"token-broker\""
        } else {
            ""
        };
        assert_eq!(answer.header("www-authenticate"), challenge);
    }
    let url = file.get("token_url");
    assert_eq!(get(url).status, 405);
    assert_eq!(get(&url.replace("sts", "oauth2")).status, 404);
    wait_until("the audit trail to tell", || {
        daemon.audit().contains("agent.refused")
    });
    daemon.scan_for_secrets(&[secret]);
}

#[test]
fn each_state_is_told_to_libraries_in_their_own_form() {
    let (google, daemon, agent) = running();
    let file = agent.credential_file().unwrap();
    daemon
        .cli(&["integrations", "disconnect", "--owner", "alice", "--yes"])
        .expect_ok();
    daemon.wait_for_state("bot", "not_connected");
    let page = format!("{}/agents/bot", daemon.http());
    let refused = file.refresh();
    assert_eq!(refused.status, 400);
    let refused = refused.json();
    assert_eq!(refused["error"], "invalid_grant");
    assert_eq!(refused["error_uri"], page);
    let description = refused["error_description"].as_str().unwrap();
    assert!(description.starts_with("not_connected: "), "{description}");
    let refused = daemon.metadata(TOKEN);
    assert_eq!(refused.status, 403);
    assert_eq!(refused.text(), format!("{description} See {page}\n"));

    // What passes is worth asking again.
    google.fault(&json!({ "endpoint": "token", "grant_type": "refresh_token", "status": 503 }));
    daemon.write_manifest("other", "alice", &["google.calendar.readonly"]);
    daemon
        .connect("alice", &[SEND, "google.calendar.readonly"])
        .expect_ok();
    daemon.wait_for_state("bot", "provider_unavailable");
    let refused = file.refresh();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.json()["error"], "temporarily_unavailable");
    assert_eq!(daemon.metadata(TOKEN).status, 503);
    google.clear_faults();
    daemon.wait_for_state("bot", "active");
    assert_eq!(file.refresh().status, 200);
}

#[test]
fn the_metadata_server_answers_its_agent_and_nobody_who_was_led_there() {
    let (_google, daemon, agent) = running();
    let token = agent.token().unwrap();
    assert_eq!(daemon.metadata("/").status, 200);
    let project = daemon.metadata("/computeMetadata/v1/project/project-id");
    assert_eq!(project.text(), "token-broker");
    assert_eq!(project.header("metadata-flavor"), "Google");
    for headers in [
        &[][..],
        &[("metadata-flavor", "Google"), ("x-forwarded-for", "10.0.0.1")],
    ] {
        let refused = daemon.metadata_with(TOKEN, headers);
        assert_eq!(refused.status, 403);
        assert!(!refused.text().contains(&token));
    }
    // A browser that was led here by another name (DNS rebinding).
    let raw = format!(
        "GET {TOKEN} HTTP/1.1\r\nHost: evil.example\r\nMetadata-Flavor: Google\r\nConnection: close\r\n\r\n"
    );
    let answer = raw_request(&daemon.metadata_host(), &raw);
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(!answer.contains(&token), "{answer}");
    // A target in absolute form names a host as well, and goes before the header; several headers name none.
    let host = daemon.metadata_host();
    let rest = "Metadata-Flavor: Google\r\nConnection: close\r\n\r\n";
    for (status, head) in [
        (200, format!("http://{host}{TOKEN} HTTP/1.1\r\nHost: {host}")),
        (
            403,
            format!("http://evil.example{TOKEN} HTTP/1.1\r\nHost: {host}"),
        ),
        (
            403,
            format!("http://{host}{TOKEN} HTTP/1.1\r\nHost: evil.example"),
        ),
        (400, format!("{TOKEN} HTTP/1.1\r\nHost: {host}\r\nHost: {host}")),
        (
            400,
            format!("{TOKEN} HTTP/1.1\r\nHost: {host}\r\nHost: evil.example"),
        ),
        (400, format!("{TOKEN} HTTP/1.1\r\nHost: me@{host}")),
        (400, format!("{TOKEN} HTTP/1.1")),
    ] {
        let answer = raw_request(&host, &format!("GET {head}\r\n{rest}"));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head}: {answer}"
        );
        assert_eq!(answer.contains(&token), status == 200, "{head}: {answer}");
    }
    // Nowhere may a request name several.
    let twice = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let page = raw_request(daemon.http().trim_start_matches("http://"), twice);
    assert!(page.starts_with("HTTP/1.1 400 "), "{page}");
    let mut stream = std::os::unix::net::UnixStream::connect(agent.socket()).unwrap();
    let answer = exchange(&mut stream, &twice.replace("/healthz", "/v1/token"));
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && !answer.contains(&token),
        "{answer}"
    );
    // The agent's other paths are its socket's alone.
    assert_eq!(daemon.metadata("/v1/token").status, 404);
    assert_eq!(daemon.metadata("/v1/env").status, 404);
    let url = format!("http://{}{TOKEN}", daemon.metadata_host());
    let posted = request(
        Method::POST,
        &url,
        &[("metadata-flavor", "Google")],
        String::new(),
    )
    .unwrap();
    assert_eq!(posted.status, 405);
}

#[test]
fn a_metadata_server_waits_for_its_agent() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::for_libraries(&google, "bot");
    daemon.start();
    let refused = daemon.metadata(TOKEN);
    assert_eq!(refused.status, 503);
    assert!(
        refused.text().contains("There is no agent `bot`"),
        "{}",
        refused.text()
    );
    let doctor = daemon.cli(&["doctor", "--offline"]);
    assert!(
        doctor.stdout.contains("there is no agent bot"),
        "{}",
        doctor.stdout
    );
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("bot", "active");
    assert_eq!(daemon.metadata(TOKEN).status, 200);
}

#[test]
fn a_slow_google_keeps_no_library_waiting_while_a_token_lives() {
    // Of a token that lives so long, the last ten seconds are those in which a fresher one is wanted.
    let google = Emulator::start(&["--token-lifetime", "50s"]);
    let daemon = Daemon::for_libraries(&google, "bot");
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    let token = daemon.wait_for_token("bot", None);
    google.fault(&json!({ "endpoint": "token", "grant_type": "refresh_token", "hold": true }));
    daemon.wait_for_state("bot", "provider_unavailable");
    let answer = daemon.metadata(TOKEN).expect_ok();
    assert_eq!(answer.json()["access_token"], token);
    google.clear_faults();
    daemon.wait_for_state("bot", "active");
    assert_ne!(daemon.metadata(TOKEN).expect_ok().json()["access_token"], token);
}

#[test]
fn env_prints_what_libraries_need() {
    let (_google, daemon, agent) = running();
    let adc = daemon.cli(&["env", "--adc", "--agent", "bot"]).expect_ok();
    let file = agent.path("adc.json");
    assert_eq!(
        adc.stdout,
        format!("GOOGLE_APPLICATION_CREDENTIALS={}\n", file.display())
    );
    let mut metadata = daemon.command(&["env", "--metadata"]);
    metadata.env("TOKEN_BROKER_METADATA_LISTEN", "127.0.0.1:8422");
    let lines = crate::support::Output::of(&mut metadata).expect_ok().stdout;
    assert!(lines.contains("GCE_METADATA_HOST=127.0.0.1:8422\n"), "{lines}");
}

#[test]
fn a_port_that_is_taken_stops_the_start_with_a_sentence() {
    let google = Emulator::start(&[]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (key, more) in [
        ("adc.listen", None),
        ("metadata.listen", Some(("metadata.agent", "bot"))),
    ] {
        let settings: Vec<_> = [Some((key, address.as_str())), more]
            .into_iter()
            .flatten()
            .collect();
        let daemon = Daemon::with(&google, &settings);
        let refused = daemon.try_start().unwrap_err();
        let sentence = format!("{key} {address} cannot be bound: ");
        assert!(refused.stderr.contains(&sentence), "{}", refused.stderr);
    }
}

fn raw_request(host: &str, request: &str) -> String {
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    exchange(&mut stream, request)
}

fn exchange(stream: &mut (impl std::io::Read + std::io::Write), request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Debian's C core of gRPC asks like this, byte by byte, and takes nothing else for a metadata server.
#[test]
fn the_probe_of_grpcs_c_core_is_answered() {
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };
    let (_google, daemon, _agent) = running();
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(daemon.metadata_host()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let probe = ask("GET / HTTP/1.0\r\nHost: metadata.google.internal.\r\nConnection: close\r\n\r\n");
    assert!(probe.contains(" 200 OK\r\n"), "{probe}");
    assert!(probe.contains("\r\nMetadata-Flavor: Google\r\n"), "{probe}");
    // What has something to say still wants the header.
    let token = ask(&format!(
        "GET {TOKEN} HTTP/1.0\r\nHost: metadata.google.internal.\r\n\r\n"
    ));
    assert!(token.contains(" 403 Forbidden\r\n"), "{token}");
    let led_here = ask("GET / HTTP/1.0\r\nHost: evil.example\r\n\r\n");
    assert!(led_here.contains(" 403 Forbidden\r\n"), "{led_here}");
    let head = ask(&format!(
        "HEAD {TOKEN} HTTP/1.0\r\nHost: 127.0.0.1\r\nMetadata-Flavor: Google\r\n\r\n"
    ));
    assert!(
        head.contains(" 200 OK\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}
