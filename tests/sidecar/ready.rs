//! When a sidecar is ready, and what its probe says until then.

use crate::{
    pod::Pod,
    remote::{Remote, SEND},
};

#[test]
fn the_socket_appears_with_the_first_token_and_until_then_the_probe_says_why_not() {
    let remote = Remote::unconnected("10s");
    let mut pod = remote.pod();
    pod.start(&remote.options(&pod));
    let status = pod.wait_for_message("not_connected");
    assert_eq!(status["agent"], "invoice-bot");
    assert!(!pod.has_socket());
    let probe = pod.probe().expect(124);
    assert!(probe.stderr.contains("no token within 0s: alice"), "{probe:?}");
    let url = status["action_url"].as_str().unwrap();
    assert!(
        url.starts_with("http://127.0.0.1:") && probe.stderr.contains(url),
        "{probe:?}"
    );
    assert_eq!(
        pod.agent().variable("TOKEN_BROKER_STATE").as_deref(),
        Some("not_connected")
    );

    remote.daemon.connect("alice", &[SEND]).expect_ok();
    pod.wait_until_ready();
    assert!(pod.agent().token().is_some() && pod.has_socket());
    // Ready stays ready: an agent that loses its token asks the socket why.
    remote.google.revoke("alice@example.com");
}

#[test]
fn a_broker_that_is_not_there_is_named_by_the_probe() {
    let mut pod = Pod::new();
    let socket = pod.folder().join("nowhere/broker.sock");
    pod.start(&["--from".to_owned(), format!("unix://{}", socket.display())]);
    pod.wait_for_message("there is no socket");
    let probe = pod.probe().expect(124);
    assert!(
        probe
            .stderr
            .contains("mount the agent's directory in the sidecar"),
        "{probe:?}"
    );
    // Once, not once an attempt: a whole second's attempts are told together with the first.
    crate::support::wait_until("the first sentence", || pod.log().contains("there is no socket"));
    assert_eq!(
        pod.log().matches("there is no socket").count(),
        1,
        "{}",
        pod.log()
    );
}
