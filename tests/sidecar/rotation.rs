//! What rotates: the pod's token, and the broker's certificate.

use crate::{remote::Remote, support::wait_until};

#[test]
fn the_pods_token_may_rotate() {
    let remote = Remote::start();
    let pod = remote.running();
    let old = std::fs::read_to_string(pod.folder().join("token")).unwrap();
    pod.put_token(&remote.token("billing", "invoice-bot"));
    remote.kubernetes.expire(&old);
    let reviews = remote.kubernetes.reviews();
    pod.agent()
        .get("/v1/token?capability=google.gmail.send")
        .expect_ok();
    assert_eq!(
        remote.kubernetes.reviews(),
        reviews + 1,
        "the new one was asked about"
    );
    let first = pod.wait_for_token(None);
    pod.wait_for_token(Some(&first));
    assert!(!pod.log().contains("WARN"), "{}", pod.log());
}

#[test]
fn the_certificate_may_be_exchanged_while_the_broker_runs() {
    let remote = Remote::start();
    let before = remote.running();
    remote.certificate.exchange();
    // A new connection meets the new certificate: who trusts the old authority alone is told so.
    let mut late = remote.pod();
    std::fs::copy(before.folder().join("ca.crt"), late.folder().join("ca.crt")).unwrap();
    late.start(&remote.options(&late));
    late.wait_for_message("is not accepted by the authorities in");
    assert!(!late.has_socket());
    // Who has the new one too is served; nobody was restarted.
    remote.certificate.authority_in(late.folder());
    late.wait_until_ready();
    assert!(remote.daemon.log().contains("changed and was read again"));
    // The old connection goes on.
    let first = before.wait_for_token(None);
    before.wait_for_token(Some(&first));
    // Half of an exchange changes nothing.
    std::fs::write(remote.certificate.file("tls.key"), "nothing").unwrap();
    let another = remote.running();
    assert!(another.agent().token().is_some());
    wait_until("the warning", || {
        remote
            .daemon
            .log()
            .contains("what was read before stays in force")
    });
}

#[test]
fn a_certificate_may_be_its_own_authority_but_not_an_authoritys() {
    let remote = Remote::start();
    remote.certificate.sign_by_itself(true);
    let mut pod = remote.pod();
    pod.start(&remote.options(&pod));
    pod.wait_for_message("make one with basicConstraints=CA:FALSE");
    assert!(!pod.has_socket());
    remote.certificate.sign_by_itself(false);
    remote.certificate.authority_in(pod.folder());
    pod.wait_until_ready();
}
