//! Requests that name a host that is none of the daemon's: a browser was led here by a name of somebody else's.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::{
    browser::{Browser, approve},
    scene::{ALICE, SEND, two_owners},
    support::Daemon,
};

const PROXY: [(&str, &str); 3] = [
    ("console.proxy_addresses", "127.0.0.0/8"),
    ("console.proxy_header", "x-forwarded-user"),
    ("console.operators", "ops@example.com"),
];

/// What comes back to this text, on a connection of its own.
fn exchange(daemon: &Daemon, request: &str) -> String {
    let address = daemon.http();
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// `GET`, with these lines after the first.
fn get(daemon: &Daemon, target: &str, lines: &[&str]) -> String {
    let lines = lines.join("\r\n");
    exchange(
        daemon,
        &format!("GET {target} HTTP/1.1\r\nconnection: close\r\n{lines}\r\n\r\n"),
    )
}

fn port(daemon: &Daemon) -> String {
    daemon.http().rsplit(':').next().unwrap().to_owned()
}

#[test]
fn a_rebound_name_signs_nobody_in() {
    let (_google, daemon) = two_owners(&PROXY);
    let operator = "x-forwarded-user: ops@example.com";
    let port = port(&daemon);
    for name in ["evil.example", "127.0.0.1.evil.example", "10.9.8.7"] {
        let host = format!("host: {name}:{port}");
        let refused = get(&daemon, "/console/agents", &[&host, operator]);
        assert!(refused.starts_with("HTTP/1.1 421"), "{refused}");
        assert!(
            refused.contains(name) && refused.contains("public_url"),
            "{refused}"
        );
        assert!(!refused.to_lowercase().contains("set-cookie"), "{refused}");
        // The same name in the request's first line.
        let target = format!("http://{name}:{port}/console/agents");
        for host in [&host, &format!("host: 127.0.0.1:{port}")] {
            let refused = get(&daemon, &target, &[host, operator]);
            assert!(refused.starts_with("HTTP/1.1 421"), "{refused}");
        }
    }
    let refused = get(&daemon, "/console/agents", &[operator]);
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    let old = format!("GET /console/agents HTTP/1.0\r\n{operator}\r\n\r\n");
    let refused = exchange(&daemon, &old);
    assert!(refused.starts_with("HTTP/1.0 400"), "{refused}");
    let two = ["host: 127.0.0.1", "host: evil.example", operator];
    let refused = get(&daemon, "/console/agents", &two);
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");

    // Nobody was let in by any of them; by the machine's own names people are.
    let ended = daemon.cli(&["console", "--sign-out"]).expect_ok().stdout;
    assert!(ended.starts_with("Ended 0 sessions"), "{ended}");
    for name in ["127.0.0.1", "localhost", "LOCALHOST.", "127.0.0.1:9999", "[::1]"] {
        let page = get(&daemon, "/console/agents", &[&format!("host: {name}"), operator]);
        assert!(page.starts_with("HTTP/1.1 200"), "{name}: {page}");
    }
}

#[test]
fn a_path_of_public_url_hides_no_name() {
    let mut settings = PROXY.to_vec();
    settings.push(("public_url", "http://127.0.0.1/broker"));
    let (_google, daemon) = two_owners(&settings);
    let operator = "x-forwarded-user: ops@example.com";
    for path in ["/broker/console/agents", "/console/agents"] {
        let target = format!("http://evil.example{path}");
        let refused = get(&daemon, &target, &["host: 127.0.0.1", operator]);
        assert!(refused.starts_with("HTTP/1.1 421"), "{path}: {refused}");
        let page = get(&daemon, path, &["host: 127.0.0.1", operator]);
        assert!(page.starts_with("HTTP/1.1 200"), "{path}: {page}");
    }
    let alive = get(&daemon, "/broker/healthz", &["host: evil.example"]);
    assert!(alive.starts_with("HTTP/1.1 200"), "{alive}");
}

#[test]
fn under_a_foreign_name_nothing_is_shown_and_nothing_done() {
    let (google, daemon) = two_owners(&[]);
    let connecting = crate::support::Connecting::start(&daemon, "alice", &[SEND], &[]).unwrap();
    let back = approve(connecting.url.as_str(), ALICE);
    let target = back.strip_prefix(&daemon.http()).unwrap();
    for path in [
        target,
        "/",
        "/style.css",
        "/help",
        "/agents/invoice-bot",
        "/console/sign-in",
    ] {
        let refused = get(&daemon, path, &["host: evil.example"]);
        assert!(refused.starts_with("HTTP/1.1 421"), "{path}: {refused}");
    }
    assert_eq!(google.count("exchange"), 0);
    let ending = get(&daemon, target, &["host: localhost"]);
    assert!(ending.starts_with("HTTP/1.1 200"), "{ending}");
    connecting.finish().expect_ok();
}

#[test]
fn probes_and_figures_answer_under_any_name() {
    let (_google, daemon) = two_owners(&[]);
    for path in ["/healthz", "/readyz", "/metrics"] {
        for host in ["host: 10.244.1.7:8420", "host: token-broker.svc", "host: a b"] {
            let answer = get(&daemon, path, &[host]);
            assert!(answer.starts_with("HTTP/1.1 200"), "{path} {host}: {answer}");
        }
        let answer = exchange(&daemon, &format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.0 200"), "{path}: {answer}");
    }
}

#[test]
fn a_head_request_of_a_proxys_person_leaves_no_session() {
    let (_google, daemon) = two_owners(&PROXY);
    let mut ops = Browser::new(&daemon);
    ops.headers = vec![("x-forwarded-user".to_owned(), "ops@example.com".to_owned())];
    for _ in 0..3 {
        let answer = ops.send(http::Method::HEAD, "/console/agents", &[], String::new());
        assert_eq!(answer.status, 200);
        assert!(ops.cookie.is_none());
    }
    let ended = daemon.cli(&["console", "--sign-out"]).expect_ok().stdout;
    assert!(ended.starts_with("Ended 0 sessions"), "{ended}");
}
