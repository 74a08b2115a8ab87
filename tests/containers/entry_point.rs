//! `token-broker exec` as a container's first process.

use crate::{
    container::{Builder, Container},
    renewals::{LIFETIME, next_token},
    support::{Agent, Daemon, Emulator, wait_until},
};

const SEND: &str = "google.gmail.send";

fn running(args: &[&str]) -> (Emulator, Daemon, Agent) {
    let google = Emulator::start(args);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    let agent = daemon.wait_for_state("bot", "active");
    (google, daemon, agent)
}

/// A container whose entry point is `exec` with these options, and a shell's script as the command.
fn entry_point(agent: &Agent, options: &[&str], script: &str) -> Builder {
    let mut command = vec!["token-broker", "exec"];
    command.extend_from_slice(options);
    command.extend_from_slice(&["--", "sh", "-c", script]);
    Container::of(agent, &command)
}

#[test]
fn the_commands_exit_code_is_the_containers() {
    let (_google, _daemon, agent) = running(&[]);
    for (script, code) in [
        ("test -n \"$GOOGLE_OAUTH_ACCESS_TOKEN\" && exit 7", 7),
        ("kill -KILL $$", 128 + 9),
        ("kill -TERM $$", 128 + 15),
        ("exec /no/such/command", 127),
    ] {
        for options in [&[][..], &["--on-renewal", "restart"]] {
            let mut container = entry_point(&agent, options, script).start();
            assert_eq!(
                container.wait(),
                code,
                "{script} {options:?}: {}",
                container.stderr()
            );
        }
    }
    for (command, code) in [("/no/such/command", 127), ("/run/token-broker/status.json", 126)] {
        let mut container = Container::of(&agent, &["token-broker", "exec", "--", command]).start();
        assert_eq!(container.wait(), code, "{command}: {}", container.stderr());
        assert!(container.stderr().contains(command), "{}", container.stderr());
    }
}

#[test]
fn signals_reach_the_command() {
    let (_google, _daemon, agent) = running(&[]);
    let script = "for name in HUP INT QUIT USR1 USR2 ALRM WINCH PWR; do trap \"echo $name\" $name; done
        trap 'echo TERM; exit 3' TERM
        echo \"ready, I am $$\"
        while :; do usleep 10000; done";
    let mut container = entry_point(&agent, &[], script).start();
    let ready = container.wait_for_lines(1);
    assert_ne!(ready[0], "ready, I am 1", "somebody else is process 1");
    for name in [
        "HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "WINCH", "PWR", "HUP",
    ] {
        let before = container.stdout().lines().count();
        container.kill(name);
        let lines = container.wait_for_lines(before + 1);
        assert_eq!(lines[before..], [name]);
    }
    container.kill("TERM");
    assert_eq!(container.wait(), 3);
    assert!(container.stdout().ends_with("TERM\n"), "{}", container.stdout());
}

#[test]
fn orphans_are_reaped_and_do_not_take_the_commands_exit_code() {
    let (_google, _daemon, agent) = running(&[]);
    // Each orphan ends with another code than the command's, at once or later.
    let script =
        "for number in 1 2 3 4 5 6 7 8 9 10; do (sh -c 'exit 44' &); (sh -c 'sleep 1; exit 45' &); done
        echo made
        while [ ! -e /tmp/go ]; do usleep 10000; done
        exit 5";
    let mut container = entry_point(&agent, &[], script).start();
    container.wait_for_lines(1);
    let processes = || {
        let seen = container.exec(&["sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null; true"]);
        seen.expect_ok().stdout
    };
    let alive = |seen: &str| seen.lines().filter(|line| line.contains("(sleep)")).count();
    wait_until("the orphans to end", || {
        let seen = processes();
        // The command has its own `usleep`, which is no `sleep`.
        alive(&seen) == 0 && !seen.contains(") Z ")
    });
    container.exec(&["touch", "/tmp/go"]).expect_ok();
    assert_eq!(container.wait(), 5);
}

#[test]
fn a_renewal_restarts_the_command_with_the_new_token() {
    let (_google, _daemon, agent) = running(&LIFETIME);
    let mut events = agent.watch();
    // A child of the command's own, which must not outlive it.
    let script = "echo \"start $GOOGLE_OAUTH_ACCESS_TOKEN\"
        trap 'echo end; exit 0' TERM
        sleep infinity &
        wait";
    let container = entry_point(&agent, &["--on-renewal=restart"], script).start();
    let first = container.wait_for_lines(1).remove(0);
    let mut told = vec![next_token(&mut events)];
    while told.last().map(|token| format!("start {token}")) != Some(first.clone()) {
        told.push(next_token(&mut events));
    }
    let begin = told.len() - 1;
    told.extend((0..2).map(|_| next_token(&mut events)));
    let lines = container.wait_for_lines(5);
    let starts = told[begin..].iter().map(|token| format!("start {token}"));
    let expected: Vec<String> = starts.flat_map(|start| [start, "end".to_owned()]).collect();
    assert_eq!(
        lines[..5],
        expected[..5],
        "one after the other, each with its own token"
    );
    let sleeping = container.exec(&["sh", "-c", "cat /proc/[0-9]*/stat | grep -c '(sleep)'"]);
    assert_eq!(sleeping.stdout, "1\n", "the old ones are gone");
    assert!(
        container.stderr().contains("the token was renewed"),
        "{}",
        container.stderr()
    );
}

#[test]
fn a_command_that_was_told_to_end_is_not_started_again() {
    let (_google, _daemon, agent) = running(&LIFETIME);
    // It takes its time, longer than a token lives.
    let script = "trap 'echo TERM' TERM
        echo start
        while [ ! -e /tmp/go ]; do usleep 10000; done
        exit 8";
    let options = ["--on-renewal=restart", "--grace=0"];
    let mut container = entry_point(&agent, &options, script).start();
    container.wait_for_lines(1);
    container.kill("TERM");
    container.wait_for_output("TERM", |text| text.contains("TERM\n"));
    let before = container.stdout();
    let mut events = agent.watch();
    for _ in 0..3 {
        next_token(&mut events);
    }
    container.exec(&["touch", "/tmp/go"]).expect_ok();
    assert_eq!(container.wait(), 8);
    assert_eq!(container.stdout(), before);
}

#[test]
fn a_command_that_does_not_end_for_a_restart_is_killed() {
    let (_google, _daemon, agent) = running(&LIFETIME);
    // Neither the command nor what it started listens to TERM.
    let script = "trap '' TERM
        echo \"start $GOOGLE_OAUTH_ACCESS_TOKEN\"
        sh -c 'while :; do usleep 50000; done' &
        while :; do usleep 50000; done";
    let container = entry_point(&agent, &["--on-renewal=restart", "--grace=200ms"], script).start();
    let lines = container.wait_for_lines(3);
    assert_ne!(lines[0], lines[1]);
    assert_ne!(lines[1], lines[2]);
    wait_until("one generation alone", || {
        let shells = container.exec(&["sh", "-c", "cat /proc/[0-9]*/comm | grep -c '^sh$'"]);
        // The command, what it started, and the one that counts.
        shells.stdout == "3\n"
    });
}

#[test]
fn a_renewal_sends_a_signal_when_the_file_holds_the_new_token() {
    let (_google, daemon, agent) = running(&LIFETIME);
    let script = "trap 'cat /run/token-broker/access_token; echo' USR1
        echo ready
        while :; do usleep 10000; done";
    let container = entry_point(&agent, &["--on-renewal", "signal:USR1"], script).start();
    container.wait_for_lines(1);
    let first = container.wait_for_lines(3);
    // A daemon that is killed meanwhile changes nothing about it.
    daemon.kill9();
    daemon.start();
    let seen = container.wait_for_lines(first.len() + 2);
    for pair in seen[1..].windows(2) {
        assert_ne!(pair[0], pair[1], "the file was new each time: {seen:?}");
    }
    assert!(!container.stderr().contains("ya29."), "{}", container.stderr());
}

#[test]
fn a_token_that_does_not_come_is_waited_for_with_a_deadline() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    let agent = daemon.wait_for_state("bot", "not_connected");
    let mut late = entry_point(&agent, &["--timeout", "500ms"], "echo started").start();
    assert_eq!((late.wait(), late.stdout().as_str()), (124, ""));
    let said = late.stderr();
    for part in ["no token within 500ms", "not_connected", "fix it here: http"] {
        assert!(said.contains(part), "{said}");
    }

    // One that is told to end meanwhile ends.
    let mut stopped = entry_point(&agent, &["--timeout", "1h"], "echo started").start();
    wait_until("the entry point to listen", || {
        let status = stopped
            .exec(&["grep", "SigCgt", "/proc/1/status"])
            .expect_ok()
            .stdout;
        let mask = status.split_whitespace().last().unwrap();
        u64::from_str_radix(mask, 16).unwrap() >> 14 & 1 == 1
    });
    stopped.kill("TERM");
    assert_eq!((stopped.wait(), stopped.stdout().as_str()), (128 + 15, ""));

    // And when the token comes, the command starts.
    let mut waiting = entry_point(&agent, &["--timeout", "1h"], "echo started").start();
    waiting.wait_until_running();
    daemon.connect("alice", &[SEND]).expect_ok();
    assert_eq!((waiting.wait(), waiting.stdout().as_str()), (0, "started\n"));
}

#[test]
fn a_withdrawn_token_is_told_and_the_next_one_is_a_renewal() {
    let (_google, daemon, agent) = running(&[]);
    let script = "echo \"start $GOOGLE_OAUTH_ACCESS_TOKEN\"; exec sleep infinity";
    let container = entry_point(&agent, &["--on-renewal", "restart"], script).start();
    let first = container.wait_for_lines(1);
    daemon
        .cli(&["integrations", "disconnect", "--owner", "alice", "--yes"])
        .expect_ok();
    container.wait_for_stderr("the command goes on with the token it has");
    assert!(
        container.stderr().contains("fix it here: http"),
        "{}",
        container.stderr()
    );
    assert_eq!(container.stdout().lines().count(), 1, "nothing was restarted");
    daemon.connect("alice", &[SEND]).expect_ok();
    let lines = container.wait_for_lines(2);
    assert_ne!(lines[1], first[0]);
    assert_eq!(lines[1].strip_prefix("start "), agent.token().as_deref());
}
