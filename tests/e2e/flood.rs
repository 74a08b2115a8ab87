//! Clients that take every connection to the pages that they get, and never read.

use std::io;

use futures_util::{StreamExt, stream};
use http::StatusCode;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Daemon, Emulator, block_on, get};

/// What one of them asks, again and again, without reading an answer.
const ASKED: &[u8] = b"GET /help HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The daemon's address, for connections from any address of this machine.
fn address(daemon: &Daemon) -> std::net::SocketAddr {
    let http = daemon.http();
    http.strip_prefix("http://").unwrap().parse().unwrap()
}

async fn connect(daemon: &Daemon, from: &str) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // It takes in next to nothing, and holds little that is to be sent.
    socket.set_recv_buffer_size(4096)?;
    socket.set_send_buffer_size(4096)?;
    socket.bind(format!("{from}:0").parse().unwrap())?;
    socket.connect(address(daemon)).await
}

/// A connection that asks until nothing more is taken of it, if it gets that far.
async fn stuck(daemon: &Daemon, from: &str) -> Option<TcpStream> {
    let stream = connect(daemon, from).await.ok()?;
    let requests = ASKED.repeat(64);
    loop {
        stream.writable().await.ok()?;
        match stream.try_write(&requests) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // It may only have been slow to read.
                let full = tokio::time::timeout(std::time::Duration::from_millis(20), stream.writable());
                if full.await.is_err() {
                    return Some(stream);
                }
            }
            Err(_) => return None,
        }
    }
}

/// So many of them, from one address, as far as they are let in.
fn flood(daemon: &Daemon, from: &str, connections: usize) -> Vec<TcpStream> {
    block_on(async {
        // Some at a time: of those that have asked nothing yet, the oldest would give way.
        let all = stream::iter(0..connections)
            .map(|_| stuck(daemon, from))
            .buffer_unordered(32);
        all.filter_map(std::future::ready).collect().await
    })
}

/// What `GET path` is answered that comes from there, with these lines of its head.
fn ask(daemon: &Daemon, from: &str, path: &str, head: &str) -> io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    block_on(async {
        let mut stream = connect(daemon, from).await?;
        let host = address(daemon);
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{head}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    })
}

#[test]
fn probes_are_answered_whoever_holds_the_connections() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.start();
    let _flood = flood(&daemon, "127.0.0.1", 512);
    // From the very address of the flood, and without a pause.
    for _ in 0..3 {
        for path in ["/healthz", "/readyz", "/metrics"] {
            let answer = get(&format!("{}{path}", daemon.http()));
            assert_eq!(answer.status, StatusCode::OK, "{path}");
        }
    }
    // From elsewhere everything is.
    for path in ["/help", "/console/integrations", "/oauth/callback?state=x"] {
        let answer = ask(&daemon, "127.0.0.2", path, "").unwrap();
        assert!(!answer.starts_with("HTTP/1.1 503"), "{path}: {answer}");
        assert!(answer.starts_with("HTTP/1.1 "), "{path}: {answer}");
    }
}

#[test]
fn a_trusted_proxy_has_more_places_than_one_client() {
    let google = Emulator::start(&[]);
    let settings = [
        ("console.proxy_addresses", "127.0.0.2"),
        ("console.proxy_header", "x-forwarded-user"),
    ];
    let daemon = Daemon::with(&google, &settings);
    daemon.start();
    // More than one client may have.
    let _flood = flood(&daemon, "127.0.0.2", 450);
    let page = ask(
        &daemon,
        "127.0.0.2",
        "/console/agents",
        "X-Forwarded-User: alice\r\n",
    )
    .unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
}
