//! The broker's TLS as another client than ours sees it.

use serde_json::Value;

use crate::{installed::curl, remote::Remote, support::Output};

/// Asks with these headers; the status and the body.
fn ask(remote: &Remote, options: &[&str], path: &str) -> (u16, Value) {
    let mut command = curl();
    command
        .args([
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--write-out",
            "\n%{http_code} %{http_version}",
        ])
        .arg("--cacert")
        .arg(remote.certificate.file("ca.crt"))
        .args(options)
        .arg(format!("https://localhost:{}{path}", remote.port));
    let output = Output::of(&mut command).expect_ok().stdout;
    let (body, status) = output.rsplit_once('\n').unwrap();
    let (status, version) = status.split_once(' ').unwrap();
    let wanted = if options.contains(&"--http1.1") {
        "1.1"
    } else {
        "2"
    };
    assert_eq!(version, wanted);
    (status.parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[test]
fn curl_is_served_over_either_protocol_when_it_names_an_agent_and_proves_a_pod() {
    let remote = Remote::start();
    let agent = "Token-Broker-Agent: invoice-bot";
    let bearer = format!("Authorization: Bearer {}", remote.token("billing", "invoice-bot"));
    let refused = |options: &[&str]| {
        let (status, problem) = ask(&remote, options, "/v1/token");
        (status, problem["code"].as_str().unwrap().to_owned())
    };
    assert_eq!(refused(&["-H", &bearer]), (400, "invalid_request".to_owned()));
    assert_eq!(refused(&["-H", agent]), (401, "unauthenticated".to_owned()));
    // Nobody learns which agents there are without a proof.
    let unknown = "Token-Broker-Agent: nobody";
    assert_eq!(refused(&["-H", unknown]), (401, "unauthenticated".to_owned()));
    assert_eq!(
        refused(&["-H", unknown, "-H", &bearer]),
        (404, "unknown_agent".to_owned())
    );
    let other = format!("Authorization: Bearer {}", remote.token("other", "invoice-bot"));
    assert_eq!(
        refused(&["-H", agent, "-H", &other]),
        (403, "wrong_pod".to_owned())
    );
    for protocol in ["--http1.1", "--http2"] {
        let (status, token) = ask(&remote, &[protocol, "-H", agent, "-H", &bearer], "/v1/token");
        assert_eq!(status, 200, "{protocol}");
        assert!(token["access_token"].as_str().unwrap().starts_with("ya29."));
    }
    remote.daemon.scan_for_secrets(&["canary-pod"]);
}

#[test]
fn strangers_who_make_up_names_leave_one_line() {
    let remote = Remote::start();
    for number in 0..20 {
        let agent = format!("Token-Broker-Agent: made-up-{number}");
        let bearer = format!("Authorization: Bearer canary-forged-{number}");
        assert_eq!(ask(&remote, &["-H", &agent, "-H", &bearer], "/v1/token").0, 401);
        assert_eq!(ask(&remote, &["-H", &agent], "/v1/token").0, 401);
    }
    // A pod that is known has a few lines of its own, whatever it asks for.
    let bearer = format!("Authorization: Bearer {}", remote.token("other", "else"));
    for number in 0..20 {
        let agent = format!("Token-Broker-Agent: made-up-{number}");
        assert_eq!(ask(&remote, &["-H", &agent, "-H", &bearer], "/v1/token").0, 404);
    }
    let audit: Value = serde_json::from_str(&remote.daemon.audit()).unwrap();
    let lines = audit["events"].as_array().unwrap();
    let details = |of: &str| {
        let refused = lines.iter().filter(|line| line["action"] == "remote.use");
        let details = refused.map(|line| line["detail"].as_str().unwrap().to_owned());
        details.filter(|detail| detail.contains(of)).collect::<Vec<_>>()
    };
    let (unproven, known) = (details("unauthenticated"), details("other/else"));
    assert_eq!((unproven.len(), known.len()), (1, 5), "{unproven:?} {known:?}");
    assert!(unproven[0].contains("127.0.0.1"), "{unproven:?}");
    remote.daemon.scan_for_secrets(&["canary"]);
}

#[test]
fn a_configuration_that_cannot_be_served_is_refused_with_the_key() {
    let remote = Remote::start();
    let doctor = |code: i32| remote.daemon.cli(&["doctor"]).expect(code).stdout;
    let before = doctor(0);
    assert!(before.contains("reviews pods' tokens"), "{before}");
    assert!(before.contains("tls.crt and its key can be served"), "{before}");
    remote.daemon.terminate();
    let key = std::fs::read(remote.certificate.file("tls.key")).unwrap();
    remote.certificate.exchange();
    std::fs::write(remote.certificate.file("tls.key"), key).unwrap();
    assert!(doctor(1).contains("does not belong to the certificate"));
    let refused = remote.daemon.try_start().unwrap_err();
    assert_eq!(refused.code, 7, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("remote.key_file")
            && refused.stderr.contains("does not belong to the certificate"),
        "{}",
        refused.stderr
    );
}
