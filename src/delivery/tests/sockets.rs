use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener as StdListener},
    process::Command,
};

use ::http::Request;
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::{Scene, in_time, until};
use crate::{
    budget::table::WRITE_STALL,
    testing::{PIPELINED, in_memory, is_root, never_reads, snapshot, token},
};

/// Asks from another process, as another user; the status line and what follows.
async fn ask_as(scene: &Scene, uid: &str, gid: &str) -> String {
    let socket = scene.socket("a");
    let (uid, gid) = (uid.to_owned(), gid.to_owned());
    let output = tokio::task::spawn_blocking(move || {
        Command::new("setpriv")
            .args(["--reuid", &uid, "--regid", &gid, "--clear-groups"])
            .args(["curl", "-sS", "-i", "--max-time", "20", "--unix-socket"])
            .arg(socket)
            .arg("http://broker/v1/token")
            .output()
            .unwrap()
    });
    let output = output.await.unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn open_up(scene: &Scene) {
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(scene.temp.path(), everyone).unwrap();
}

#[tokio::test]
async fn only_the_named_user_reaches_the_socket() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    open_up(&scene);
    scene
        .add(
            snapshot("a")
                .with_token(token("sesame"))
                .owned_by(Some(4711), None),
        )
        .await;
    let answer = ask_as(&scene, "4711", "4711").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = ask_as(&scene, "4999", "4999").await;
    assert!(
        !answer.contains("sesame") && !answer.contains("HTTP/1.1"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_user_who_got_hold_of_the_socket_is_refused_by_name() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    open_up(&scene);
    scene
        .add(
            snapshot("a")
                .with_token(token("sesame"))
                .owned_by(Some(4711), None),
        )
        .await;
    // As root in a container might have done with the directory that it was given.
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(scene.socket("a"), everyone).unwrap();
    let answer = ask_as(&scene, "4999", "4999").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("uid 4999 may not use this socket"), "{answer}");
    assert!(!answer.contains("sesame"));
}

#[tokio::test]
async fn a_named_group_may_connect() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    open_up(&scene);
    let owned = snapshot("a")
        .with_token(token("sesame"))
        .owned_by(Some(4711), Some(4712));
    scene.add(owned).await;
    let answer = ask_as(&scene, "4999", "4712").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = ask_as(&scene, "4999", "4999").await;
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_so_is_anything_else_in_its_place() {
    let temp = in_memory();
    let (a, b, c) = (
        temp.path().join("agents/a"),
        temp.path().join("agents/b"),
        temp.path().join("agents/c"),
    );
    for directory in [&a, &b, &c] {
        fs::create_dir_all(directory).unwrap();
    }
    drop(StdListener::bind(a.join("broker.sock")).unwrap());
    drop(StdListener::bind(a.join(".broker.sock.new")).unwrap());
    fs::create_dir_all(b.join("broker.sock/deep")).unwrap();
    fs::create_dir_all(b.join(".broker.sock.new/deep")).unwrap();
    symlink("/nowhere", c.join("broker.sock")).unwrap();
    symlink("/nowhere", c.join(".broker.sock.new")).unwrap();
    let scene = Scene::at(temp);
    for agent in ["a", "b", "c"] {
        scene.add(snapshot(agent).with_token(token("sesame"))).await;
        assert!(scene.get(agent, "/v1/token").await.1.contains("sesame"));
    }
}

#[tokio::test]
async fn a_path_longer_than_a_socket_address_works() {
    let temp = in_memory();
    let deep = temp.path().join("d".repeat(100)).join("e".repeat(100));
    fs::create_dir_all(&deep).unwrap();
    let scene = Scene::at(tempfile::tempdir_in(&deep).unwrap());
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    // As an agent sees it, at a path of its own.
    let mounted = temp.path().join("m");
    symlink(scene.path("a", ""), &mounted).unwrap();
    UnixStream::connect(mounted.join("broker.sock")).await.unwrap();
}

#[tokio::test]
async fn the_connections_of_a_removed_agent_end() {
    let scene = Scene::new();
    let agent = scene.add(snapshot("a").with_token(token("sesame"))).await;
    let io = TokioIo::new(scene.connect("a").await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = || {
        let request = Request::get("/v1/token").header("host", "broker");
        request.body(Empty::<Bytes>::new()).unwrap()
    };
    assert_eq!(
        in_time(sender.send_request(request())).await.unwrap().status(),
        200
    );
    let fresh = scene.connect("a").await;
    scene.remove(&agent).await;
    // Whether it asks or not.
    in_time(connection).await.unwrap().unwrap();
    let mut fresh = fresh;
    let _ = fresh
        .write_all(b"GET /v1/token HTTP/1.1\r\nhost: b\r\n\r\n")
        .await;
    let mut answer = String::new();
    let _ = in_time(fresh.read_to_string(&mut answer)).await;
    assert!(!answer.contains("sesame"), "{answer}");
    assert!(!scene.socket("a").exists());
}

#[tokio::test]
async fn one_agents_many_connections_leave_the_others_alone() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    scene.add(snapshot("b").with_token(token("sesame"))).await;
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(scene.connect("a").await);
    }
    assert!(scene.get("b", "/v1/token").await.1.contains("sesame"));
    // Once some are closed there is room again for the agent itself.
    held.truncate(10);
    assert!(scene.get("a", "/v1/token").await.1.contains("sesame"));
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_closed_and_one_that_idles_is_not() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    let mut silent = scene.connect("a").await;
    let io = TokioIo::new(scene.connect("a").await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = || {
        let request = Request::get("/v1/token").header("host", "broker");
        request.body(Empty::<Bytes>::new()).unwrap()
    };
    sender.send_request(request()).await.unwrap();
    // From here on time passes as soon as everybody waits for it.
    tokio::time::pause();
    silent.write_all(b"GET /v1/tok").await.unwrap();
    let mut answer = Vec::new();
    assert_eq!(in_time(silent.read_to_end(&mut answer)).await.unwrap(), 0);
    tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    let answer = sender.send_request(request()).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_client_that_reads_no_answer_is_given_up() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    let stream = scene.connect("a").await;
    let passed = never_reads(stream, b"", PIPELINED).await;
    assert!((WRITE_STALL..2 * WRITE_STALL).contains(&passed), "{passed:?}");
}

#[tokio::test]
async fn nonsense_closes_the_connection_and_nothing_else() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    let huge = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    for nonsense in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrubbish that is no frame",
        huge.as_bytes(),
    ] {
        let mut stream = scene.connect("a").await;
        let _ = stream.write_all(nonsense).await;
        let mut answer = Vec::new();
        let _ = in_time(stream.read_to_end(&mut answer)).await;
    }
    assert!(scene.get("a", "/v1/token").await.1.contains("sesame"));
}

#[tokio::test]
async fn a_client_that_names_the_path_as_authority_is_served() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    let mut stream = scene.connect("a").await;
    let fields = b"\x82\x86\x04\x09/v1/token\x41\x13%2Frun%2Fbroker.soc";
    let length = u8::try_from(fields.len()).unwrap();
    let request = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0, 0, 0, 4, 0, 0, 0, 0, 0][..],
        &[0, 0, length, 1, 5, 0, 0, 0, 1],
        fields,
    ];
    stream.write_all(&request.concat()).await.unwrap();
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("sesame") {
        assert!(
            in_time(stream.read_buf(&mut answer)).await.unwrap() > 0,
            "{answer:?}"
        );
        // A reset of the stream: its error code follows.
        assert!(
            !answer.windows(5).any(|five| five == [0, 0, 4, 3, 0]),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_stopped_daemon_finishes_and_leaves_the_files() {
    let scene = Scene::new();
    let agent = scene.add(snapshot("a").with_token(token("first"))).await;
    let idle = scene.connect("a").await;
    agent.publish(snapshot("a").with_token(token("last")));
    scene.changes.changed(&agent);
    scene.shutdown.cancel();
    let env = scene.path("a", "env");
    until(|| fs::read_to_string(&env).unwrap().contains("=last\n")).await;
    drop(idle);
}
