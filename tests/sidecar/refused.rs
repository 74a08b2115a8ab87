//! Who gets nothing, and what they are told.

use crate::{
    remote::{BILLING, Remote},
    support::wait_until,
};

#[test]
fn a_pod_that_the_manifest_does_not_name_is_refused_with_both_sides_named() {
    let remote = Remote::start();
    let mut pod = remote.pod_of("billing", "default");
    pod.start(&remote.options(&pod));
    let status = pod.wait_for_message("pods that run as billing/invoice-bot");
    let message = status["message"].as_str().unwrap();
    assert!(
        message.contains("a pod that runs as billing/default asks for it"),
        "{message}"
    );
    assert_eq!(status["state"], "misconfigured");
    assert!(pod.probe().expect(124).stderr.contains("billing/default"));
    let audit = remote.daemon.audit();
    assert!(audit.contains("denied") && audit.contains("wrong_pod"), "{audit}");
    remote.daemon.scan_for_secrets(&["canary-pod"]);
    assert!(!pod.log().contains("canary"));
    // The manifest is what decides, at once.
    remote.allow(
        "invoice-bot",
        "kubernetes: {namespace: billing, serviceAccount: default}\n",
    );
    pod.wait_until_ready();
}

#[test]
fn a_pod_that_proves_nothing_is_refused_and_one_that_nobody_can_judge_waits() {
    let remote = Remote::start();
    let mut pod = remote.pod();
    pod.put_token("eyJ.canary-forged.x");
    pod.start(&remote.options(&pod));
    pod.wait_for_message("does not prove who asks for the agent invoice-bot");
    remote.kubernetes.end();
    pod.put_token(&remote.token("billing", "invoice-bot"));
    pod.wait_for_message("Nobody can say whether the pod's token is genuine");
    remote.kubernetes.begin();
    pod.wait_until_ready();
    assert!(remote.daemon.audit().contains("unauthenticated"));
    remote.daemon.scan_for_secrets(&["canary"]);
}

#[test]
fn a_manifest_that_no_longer_allows_the_pod_ends_its_streams_and_takes_its_token() {
    let remote = Remote::start();
    let pod = remote.running();
    let mut events = pod.agent().watch();
    let mut grpc = pod.agent().grpc();
    let mut stream = grpc.watch();
    remote.allow(
        "invoice-bot",
        "kubernetes: {namespace: billing, serviceAccount: other}\n",
    );
    pod.wait_for_none();
    while events.next().is_some() {}
    let ended = crate::support::block_on(async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                other => return other,
            }
        }
    });
    assert!(ended.is_err(), "{ended:?}");
    // While the agent is on its way to its new holder, nobody can say whose it is.
    wait_until("the agent to have its new holder", || {
        let refused = pod.agent().get("/v1/token");
        assert!(!refused.status.is_success(), "{}", refused.status);
        refused.json()["code"] != "unverified"
    });
    assert_eq!(pod.agent().get("/v1/token").json()["code"], "wrong_pod");
    assert_eq!(grpc.token().unwrap_err().code(), tonic::Code::PermissionDenied);
    assert_eq!(pod.agent().status()["state"], "misconfigured");
    // And back.
    remote.allow("invoice-bot", BILLING);
    pod.wait_for_token(None);
}

#[test]
fn an_agent_that_is_removed_leaves_its_pod_nothing() {
    let remote = Remote::start();
    let pod = remote.running();
    std::fs::remove_file(remote.daemon.agents_d().join("invoice-bot.yaml")).unwrap();
    pod.wait_for_none();
    wait_until("the reason", || {
        pod.agent().status()["message"]
            .as_str()
            .unwrap()
            .contains("no agent invoice-bot")
    });
}

#[test]
fn a_token_that_is_withdrawn_is_gone_from_the_pod() {
    let remote = Remote::with_lifetime("1h");
    let pod = remote.running();
    remote
        .daemon
        .cli(&["integrations", "disconnect", "--owner", "alice", "--yes"])
        .expect_ok();
    pod.wait_for_none();
    assert_eq!(pod.agent().get("/v1/token").json()["code"], "not_connected");
    assert!(pod.has_socket(), "which says why");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let run = |options: &[&str]| {
        let mut command = crate::support::program();
        command.arg("sidecar").args(options);
        crate::support::Output::of(&mut command)
    };
    for (options, words) in [
        (
            &["--from", "https://broker.example:8443"][..],
            "say whose tokens are wanted with --agent",
        ),
        (&["--from", "http://broker.example"], "unix:///PATH"),
        (
            &["--from", "unix:///x", "--metadata", "0.0.0.0:80"],
            "loopback address",
        ),
    ] {
        let refused = run(options).expect(2);
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    let missing = run(&["--from", "unix:///x", "--directory", "/nonexistent/shared"]).expect(1);
    assert!(
        missing.stderr.contains("/nonexistent/shared could not be opened"),
        "{missing:?}"
    );
}
