//! The program as people run it: what it prints, what it serves, how it ends.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A running program; it ends with this value.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    /// The code with which it ends.
    fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        // A safety net only: it ends at once, or never.
        while begun.elapsed() < Duration::from_secs(60) {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it goes on");
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_google-emulator"));
    command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Starts it on free ports; returns the values of the five lines that it prints.
fn start(arguments: &[&str]) -> (Program, Vec<String>) {
    let mut child = command(&["--listen=127.0.0.1:0", "--control=127.0.0.1:0"])
        .args(arguments)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let names = [
        "Google, emulated: ",
        "Control: ",
        "Accounts: ",
        "Client id: ",
        "Client secret: ",
    ];
    let value = |name: &str| {
        let line = lines.next().unwrap().unwrap();
        let value = line
            .strip_prefix(name)
            .unwrap_or_else(|| panic!("{name} in {line:?}"));
        value.trim().to_owned()
    };
    let values = names.map(value).to_vec();
    (Program(child), values)
}

/// The whole answer to one request.
fn get(origin: &str, path: &str) -> String {
    let address = origin.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_says_where_it_is_and_ends_well_when_it_is_told_to() {
    let (mut program, said) = start(&["--account=carol@example.com", "--client-id=mine"]);
    let [google, control, accounts, id, secret] = said.as_slice() else {
        panic!("{said:?}")
    };
    assert_eq!(
        (accounts.as_str(), id.as_str(), secret.as_str()),
        ("carol@example.com", "mine", "GOCSPX-emulator")
    );
    let discovery = get(google, "/.well-known/openid-configuration");
    assert!(discovery.starts_with("HTTP/1.1 200 OK"), "{discovery}");
    assert!(discovery.contains(&format!("{google}/token")), "{discovery}");
    assert!(get(control, "/state").contains("carol@example.com"));

    let pid = program.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(program.ended(), Some(0));
}

#[test]
fn what_it_cannot_do_is_said_and_ends_with_an_error() {
    let failed = command(&["--listen=0.0.0.0:0", "--control=127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8(failed.stderr).unwrap();
    assert!(
        said.starts_with("google-emulator: the emulator refuses to listen on 0.0.0.0:0:"),
        "{said}"
    );

    let wrong = command(&["--token-lifetime=soon"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("`soon` is not a duration"), "{said}");
}
