//! While the broker is away.

use crate::remote::Remote;

#[test]
fn a_token_is_answered_while_it_lives_and_goes_when_it_expires() {
    let remote = Remote::with_lifetime("10s");
    let pod = remote.running();
    let agent = pod.agent();
    let token = agent.get("/v1/token").expect_ok().json();
    remote.daemon.kill9();
    let at_hand = agent.get("/v1/token");
    // The machine may have been slower than the token lives.
    if at_hand.status == 200 {
        let at_hand = at_hand.json();
        for field in ["access_token", "token_type", "scope", "capabilities"] {
            assert!(!at_hand[field].is_null(), "{field} of {at_hand}");
        }
        assert_eq!(at_hand["capabilities"], token["capabilities"]);
        assert_eq!(at_hand["scope"], token["scope"]);
    }
    // What takes a broker takes a broker.
    let narrowed = agent.get("/v1/token?capability=google.gmail.send");
    assert_eq!(
        (narrowed.status.as_u16(), narrowed.json()["code"].as_str()),
        (503, Some("provider_unavailable"))
    );
    let detail = narrowed.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains(&format!("the broker at localhost:{}", remote.port)),
        "{detail}"
    );
    assert_eq!(agent.grpc().token().unwrap_err().code(), tonic::Code::Unavailable);

    pod.wait_for_none();
    assert_eq!(
        agent.variable("TOKEN_BROKER_STATE").as_deref(),
        Some("provider_unavailable")
    );
    let refused = agent.get("/v1/token");
    assert_eq!(
        (refused.status.as_u16(), refused.json()["code"].as_str()),
        (503, Some("provider_unavailable"))
    );
    let status = agent.get("/v1/status").expect_ok().json();
    assert_eq!(status["state"], "provider_unavailable");
    assert!(
        status["message"].as_str().unwrap().contains("cannot be reached"),
        "{status}"
    );
    assert_eq!(status["owner"], "alice");
    let warnings = pod.log().matches("cannot be reached").count();
    assert_eq!(warnings, 1, "{}", pod.log());

    remote.daemon.start();
    pod.wait_for_token(None);
    agent.get("/v1/token?capability=google.gmail.send").expect_ok();
}

#[test]
fn a_restart_of_the_broker_is_not_noticed() {
    let remote = Remote::with_lifetime("1h");
    let pod = remote.running();
    let token = pod.wait_for_token(None);
    remote.daemon.restart();
    assert_eq!(
        pod.agent().get("/v1/token").expect_ok().json()["access_token"],
        token.as_str()
    );
    assert_eq!(pod.wait_for_token(None), token);
}
