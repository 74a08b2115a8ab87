//! `exec` in each of the ways in which it runs a command, and commands as process 1.

use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Daemon, Emulator, Output, is_root, program_named, wait_for};

const SEND: &str = "google.gmail.send";

fn scene() -> (Emulator, Daemon) {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    (google, daemon)
}

/// The command as process 1 of a namespace of its own.
fn as_process_1(daemon: &Daemon, args: &[&str]) -> Command {
    assert!(is_root(), "this makes a namespace: run it as root");
    let command = daemon.command(args);
    let mut unshare = program_named("unshare");
    unshare
        .args(["--pid", "--fork", "--kill-child", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    unshare
}

/// Runs `exec` with `command` in each way; whether as process 1 comes with it.
fn in_each_way(daemon: &Daemon, command: &[&str], check: impl Fn(&str, Output)) {
    let options: [&[&str]; 3] = [&[], &["--on-renewal", "signal"], &["--metadata", "127.0.0.1:0"]];
    for options in options {
        let mut args = vec!["exec", "--agent", "bot"];
        args.extend_from_slice(options);
        args.push("--");
        args.extend_from_slice(command);
        check(&format!("{options:?}"), Output::of(&mut daemon.command(&args)));
        let way = format!("{options:?} as process 1");
        check(&way, Output::of(&mut as_process_1(daemon, &args)));
    }
}

fn file(daemon: &Daemon, name: &str, text: &str) -> String {
    let path = daemon.config_dir().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_command_is_run_alike_in_each_way() {
    let (_google, daemon) = scene();
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("bot", "active");
    // A script that names no interpreter is the shell's.
    let plain = file(
        &daemon,
        "plain",
        "echo \"ran with $1 and ${GOOGLE_OAUTH_ACCESS_TOKEN:+a token}\"\n",
    );
    in_each_way(&daemon, &[&plain, "this"], |way, output| {
        assert_eq!(output.stdout, "ran with this and a token\n", "{way}: {output:?}");
        assert_eq!(output.code, 0, "{way}");
    });
    let other = file(&daemon, "other", "#!/usr/bin/no-such-python3 -u\nprint()\n");
    let windows = file(&daemon, "windows", "#!/bin/sh\r\necho\r\n");
    for (command, code, says) in [
        (
            other.as_str(),
            126,
            "its first line names the interpreter `/usr/bin/no-such-python3`, which is not there",
        ),
        (
            windows.as_str(),
            126,
            "`/bin/sh\\r`: its lines end as those of Windows do",
        ),
        ("no-such-command", 127, "there is no such command"),
        ("/no/such/command", 127, "there is no such command"),
        ("/etc/passwd", 126, "it is not an executable file"),
    ] {
        in_each_way(&daemon, &[command], |way, output| {
            assert_eq!(output.code, code, "{command} {way}: {output:?}");
            assert!(output.stderr.contains(says), "{command} {way}: {output:?}");
        });
    }
}

#[test]
fn a_command_without_its_dashes_gets_a_hint() {
    let (_google, daemon) = scene();
    let output = daemon
        .cli(&["exec", "--agent", "bot", "./agent.py", "--fast"])
        .expect(2);
    assert!(
        output
            .stderr
            .contains("a command is written after `--`: token-broker exec -- ./agent.py"),
        "{}",
        output.stderr
    );
    let output = daemon.cli(&["exec", "--agent", "bot", "--fast"]).expect(2);
    assert!(
        !output.stderr.contains("a command is written after"),
        "{}",
        output.stderr
    );
}

/// A process in a namespace of its own that ends with this value.
struct Namespace(Child);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Namespace {
    /// Process 1, as this namespace numbers it.
    fn first(&self) -> Option<Pid> {
        let children = format!("/proc/{0}/task/{0}/children", self.0.id());
        let child = fs::read_to_string(children).ok()?;
        Pid::from_raw(child.split_whitespace().next()?.parse().ok()?)
    }
}

#[test]
fn what_waits_as_process_1_says_so_and_ends_when_it_is_told_to() {
    let (_google, daemon) = scene();
    let waiting = "token-broker: waiting for a token: ";
    let import = ["integrations", "import", "--owner", "alice"];
    let connect = [
        "connect",
        "--owner",
        "alice",
        "--capability",
        SEND,
        "--no-browser",
    ];
    let cases: [(&[&str], &str); 5] = [
        (&["wait", "--agent", "bot", "--timeout", "1h"], waiting),
        (
            &["exec", "--agent", "bot", "--timeout", "1h", "--", "true"],
            waiting,
        ),
        (
            &["wait", "--socket", "/no/such/broker.sock", "--timeout", "1h"],
            waiting,
        ),
        (&connect, ""),
        (&import, ""),
    ];
    for (args, says) in cases {
        for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
            let mut command = as_process_1(&daemon, args);
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let mut namespace = Namespace(command.spawn().unwrap());
            let mut said = BufReader::new(namespace.0.stderr.take().unwrap());
            if says.is_empty() {
                // It listens before it does anything else: then it has a thread that does.
                wait_for("it to listen", || {
                    let threads = format!("/proc/{}/task", namespace.first()?);
                    let mut threads = fs::read_dir(threads).ok()?.flatten();
                    threads.find(|thread| {
                        fs::read_to_string(thread.path().join("comm"))
                            .is_ok_and(|name| name.trim() == "signals")
                    })
                });
            } else {
                let mut line = String::new();
                said.read_line(&mut line).unwrap();
                assert!(line.starts_with(says), "{args:?}: {line}");
            }
            kill_process(namespace.first().unwrap(), signal).unwrap();
            let ended = wait_for("it to end", || namespace.0.try_wait().unwrap());
            assert_eq!(ended.code(), Some(code), "{args:?} {signal:?}");
        }
    }
}
