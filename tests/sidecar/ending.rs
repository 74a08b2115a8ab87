//! The end of a sidecar, and its next start.

use rustix::process::Signal;

use crate::{
    remote::Remote,
    support::{Pipe, program, wait_until},
};

#[test]
fn term_ends_it_at_once_and_leaves_no_token() {
    let remote = Remote::with_lifetime("1h");
    let mut pod = remote.running();
    // Whoever is connected does not hold it up.
    let _events = pod.agent().watch();
    assert_eq!(pod.end(Signal::TERM), 0, "{}", pod.log());
    assert!(pod.agent().token().is_none() && pod.agent().try_read("access_token").is_none());
    assert!(!pod.has_socket());
    assert!(
        pod.agent().status()["message"]
            .as_str()
            .unwrap()
            .contains("The sidecar has ended")
    );
    // The next one begins anew.
    pod.start(&remote.options(&pod));
    pod.wait_until_ready();
    assert!(pod.agent().token().is_some());
}

#[test]
fn what_a_killed_one_left_is_taken_over() {
    let remote = Remote::with_lifetime("1h");
    let mut pod = remote.running();
    let token = pod.wait_for_token(None);
    assert_eq!(pod.end(Signal::KILL), -1);
    assert_eq!(
        pod.agent().token().as_deref(),
        Some(token.as_str()),
        "a restart is no gap"
    );
    remote.daemon.kill9();
    pod.start(&remote.options(&pod));
    // Without a broker from the beginning: the token that lives is served.
    wait_until("the socket", || {
        pod.agent()
            .try_get("/v1/token")
            .is_ok_and(|answer| answer.status == 200)
    });
    assert_eq!(
        pod.agent().get("/v1/token").json()["access_token"],
        token.as_str()
    );
    remote.daemon.start();
    wait_until("the broker's own word", || {
        pod.agent()
            .try_get("/v1/token?capability=google.gmail.send")
            .is_ok_and(|answer| answer.status == 200)
    });
    assert_eq!(pod.wait_for_token(None), token);
}

#[test]
fn as_process_1_it_ends_at_once() {
    let remote = Remote::with_lifetime("1h");
    let mut pod = remote.pod();
    let mut unshare = std::process::Command::new("unshare");
    unshare.args(["--pid", "--fork", "--kill-child", "--"]);
    unshare
        .arg(env!("CARGO_BIN_EXE_token-broker"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap());
    pod.start_by(unshare, &remote.options(&pod));
    pod.wait_until_ready();
    // unshare passes no signals on: its child is told.
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", pod.pid())).unwrap();
    let child: i32 = children.split_whitespace().next().unwrap().parse().unwrap();
    let child = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(child, Signal::TERM).unwrap();
    assert_eq!(pod.wait_for_end(), 0);
    assert!(pod.agent().token().is_none());
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let remote = Remote::with_lifetime("6s");
    let mut pod = remote.pod();
    let log = Pipe::full();
    pod.start_logging_to(log.end(), program(), &remote.options(&pod));
    pod.wait_until_ready();
    let token = pod.wait_for_token(None);
    pod.wait_for_token(Some(&token));
    assert_eq!(pod.end(Signal::TERM), 0);
    assert!(pod.agent().token().is_none());
}
