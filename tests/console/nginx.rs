//! Behind nginx as Debian has it, with its defaults and under a path: what is `public_url`'s is so in every page, and events
//! arrive.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::fd::AsRawFd,
    process::{Child, Command},
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::{Pid, Signal, kill_process},
};
use tempfile::TempDir;

use crate::{
    browser::{Browser, approve, link},
    live::Events,
    scene::{ALICE, BOB, EVENTS, SEND},
    support::{Connecting, Daemon, Emulator, EventStream, block_on, get, open},
};

/// nginx, on a port that is bound before it starts: it takes over the socket, as it does from the nginx before it.
struct Nginx {
    process: Child,
    _folder: TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It ends its worker before itself.
        let pid = Pid::from_raw(self.process.id().cast_signed()).unwrap();
        let _ = kill_process(pid, Signal::TERM);
        let _ = self.process.wait();
    }
}

/// A port of this machine's, and its address.
fn port() -> (TcpListener, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap().to_string();
    (port, address)
}

impl Nginx {
    fn start(port: &TcpListener, locations: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let root = folder.path().display();
        let address = port.local_addr().unwrap();
        let configuration = format!(
            "daemon off;\nuser root;\npid {root}/pid;\nerror_log {root}/error.log;\nevents {{}}\nhttp {{\n\
             access_log off;\nclient_body_temp_path {root}/body;\nproxy_temp_path {root}/proxy;\n\
             fastcgi_temp_path {root}/fastcgi;\nuwsgi_temp_path {root}/uwsgi;\nscgi_temp_path {root}/scgi;\n\
             server {{\nlisten {address};\n{locations}\n}}\n}}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        fcntl_setfd(port, FdFlags::empty()).unwrap();
        let process = Command::new("nginx")
            .args(["-p", &root.to_string(), "-c"])
            .arg(&file)
            .env("NGINX", format!("{};", port.as_raw_fd()))
            .spawn()
            .expect("nginx is installed: run tests/run");
        fcntl_setfd(port, FdFlags::CLOEXEC).unwrap();
        Self {
            process,
            _folder: folder,
        }
    }
}

/// What a page leads to: where its links, forms, style sheet and script are.
fn addresses(page: &str) -> BTreeSet<String> {
    [" href=\"", " src=\"", " action=\"", " data-events=\""]
        .into_iter()
        .flat_map(|attribute| page.split(attribute).skip(1))
        .map(|rest| rest.split('"').next().unwrap().replace("&#38;", "&"))
        .filter(|address| !address.starts_with('#'))
        .collect()
}

/// Every address of the page that is this origin's own, asked for: none is missing.
fn follow(browser: &mut Browser, path: &str, page: &str) {
    let origin = url::Url::parse(&browser.root).unwrap();
    let base = url::Url::parse(&format!("{}{path}", browser.root)).unwrap();
    for address in addresses(page) {
        let url = base.join(&address).unwrap();
        if url.origin() != origin.origin() {
            continue;
        }
        assert!(url.path().starts_with("/broker/"), "{path}: {address}");
        // A stream does not end, and where forms are sent there may be nothing to look at.
        if url.path().ends_with("/events") || page.contains(&format!("action=\"{address}\"")) {
            continue;
        }
        let answer = browser.get(url.as_str());
        // Who is not signed in is asked to.
        let is_there = answer.status.is_success() || answer.status.is_redirection() || answer.status == 401;
        assert!(is_there, "{path}: {address} is {}", answer.status);
        if url.path().ends_with("/style.css") {
            assert_eq!(
                answer.header("content-type"),
                "text/css; charset=utf-8",
                "{path}: {address}"
            );
        }
    }
}

/// A daemon that people reach below `/broker/` of nginx; `target` is what follows its address in `proxy_pass`.
fn behind(target: &str, walk: impl Fn(&Emulator, &Daemon, &str)) {
    let (port, address) = port();
    let root = format!("http://{address}/broker");
    let google = Emulator::start(&["--account", ALICE, "--account", BOB]);
    let daemon = Daemon::with(&google, &[("public_url", &root)]);
    daemon.write_manifest("invoice-bot", "alice", &[SEND]);
    daemon.write_manifest("bobs-helper", "bob", &[EVENTS]);
    daemon.start();
    let socket = daemon.agent("invoice-bot").socket();
    let _nginx = Nginx::start(
        &port,
        &format!(
            "location /broker/ {{ proxy_pass {}{target}; }}\nlocation /agent/ {{ proxy_pass http://unix:{}:/; }}",
            daemon.http(),
            socket.display(),
        ),
    );
    walk(&google, &daemon, &root);
}

fn console(_: &Emulator, daemon: &Daemon, root: &str) {
    let mut alice = Browser {
        root: root.to_owned(),
        ..Browser::default()
    };
    let link = link(daemon, Some("alice"));
    assert!(
        link.starts_with(&format!("{root}/console/sign-in?link=")),
        "{link}"
    );
    let question = alice.get(&link);
    assert!(
        question.text().contains("Continue as alice?"),
        "{}",
        question.text()
    );
    follow(&mut alice, "/console/sign-in", question.text());
    let signed_in = alice.follow_link(&link);
    assert_eq!(signed_in.header("location"), "/broker/console/");
    let cookie = signed_in.header("set-cookie");
    assert!(
        cookie.ends_with("; Path=/broker") || cookie.contains("; Path=/broker;"),
        "{cookie}"
    );
    let home = alice.get("/");
    assert_eq!(home.header("location"), "/broker/console/integrations");

    let mut events = Events::of(&alice);
    let connected = alice.connect("alice", ALICE, &[SEND]);
    let to = connected.header("location");
    assert!(
        to.starts_with("/broker/console/integrations?done=connected"),
        "{to}"
    );
    events.until("event: changed");
    daemon.wait_for_state("invoice-bot", "active");
    for path in [
        "/console/integrations",
        "/console/connect",
        "/console/agents",
        "/console/agents/invoice-bot",
        "/console/activity",
        "/console/nothing",
    ] {
        let page = alice.get(path);
        follow(&mut alice, path, page.text());
    }
    let page = alice.get("/agents/invoice-bot");
    assert_eq!(page.header("location"), "/broker/console/agents/invoice-bot");
}

fn pages(_: &Emulator, daemon: &Daemon, root: &str) {
    let mut nobody = Browser {
        root: root.to_owned(),
        ..Browser::default()
    };
    let connecting = Connecting::start(daemon, "alice", &[SEND], &[]).unwrap();
    let back = approve(connecting.url.as_str(), ALICE);
    assert!(back.starts_with(&format!("{root}/oauth/callback?")), "{back}");
    let ending = nobody.get(&back);
    assert!(ending.text().contains("Google is connected"), "{}", ending.text());
    let cookie = ending.header("set-cookie");
    assert!(cookie.contains("; Path=/broker"), "{cookie}");
    follow(&mut nobody, "/oauth/callback", ending.text());
    connecting.finish().expect_ok();
    for path in [
        "/oauth/callback",
        "/agents/invoice-bot",
        "/agents/bobs-helper",
        "/help",
        "/help/link-used",
        "/nothing/at/all",
        "/console/agents",
    ] {
        let page = nobody.get(path);
        assert!(page.text().contains("<h1"), "{path}: {}", page.text());
        follow(&mut nobody, path, page.text());
        let style = addresses(page.text())
            .into_iter()
            .find(|address| address.contains("style.css"));
        assert!(style.is_some(), "{path}");
    }
    let action = daemon
        .agent("bobs-helper")
        .variable("TOKEN_BROKER_ACTION_URL")
        .unwrap();
    assert_eq!(action, format!("{root}/agents/bobs-helper"));
    assert_eq!(get(&action).status, 200);
}

fn agents(google: &Emulator, daemon: &Daemon, root: &str) {
    let mut events =
        EventStream::of(block_on(open(&format!("{}/agent/v1/watch", &root[..root.len() - 7]), &[])).unwrap());
    daemon.connect_as("alice", ALICE, &[SEND]).expect_ok();
    let token = events.until("the token", |event, _| event == "token");
    assert!(google.is_alive(token["access_token"].as_str().unwrap()));
}

#[test]
fn a_path_that_nginx_takes_away() {
    behind("/", |google, daemon, root| {
        agents(google, daemon, root);
        pages(google, daemon, root);
        console(google, daemon, root);
    });
}

#[test]
fn a_path_that_nginx_leaves_on() {
    behind("", |google, daemon, root| {
        pages(google, daemon, root);
        console(google, daemon, root);
    });
}
