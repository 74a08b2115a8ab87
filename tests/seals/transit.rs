//! A Transit engine as the seal.

use serde_json::json;
use token_broker::seal::Seal;

use crate::{
    away,
    bao::{Bao, POLICY},
    expect_open, place, refused, seal, secret,
    support::block_on,
    wrap,
};

fn of(bao: &Bao) -> Seal {
    seal(&bao.source(), Some(bao.section()))
}

#[test]
fn a_key_is_wrapped_over_tls_and_survives_rotations_of_the_servers_key() {
    let bao = Bao::start();
    let seal = of(&bao);
    assert_eq!(block_on(seal.key_in_use()).unwrap(), "tb:v1");
    let first = wrap(&seal);
    assert_eq!(
        (first.seal.as_str(), first.seal_key.as_str()),
        (seal.name(), "tb:v1")
    );

    bao.root("POST", "transit/keys/tb/rotate", &json!({}));
    assert_eq!(block_on(seal.key_in_use()).unwrap(), "tb:v2");
    expect_open(&seal, &first);
    let second = wrap(&seal);
    assert_eq!(second.seal_key, "tb:v2");

    bao.root(
        "POST",
        "transit/keys/tb/config",
        &json!({"min_decryption_version": 2}),
    );
    let reason = away(block_on(seal.unwrap(&place(7), &first)));
    assert!(
        reason.contains("400 (ciphertext or signature version is disallowed by policy (too old))"),
        "{reason}"
    );
    expect_open(&seal, &second);
    bao.root(
        "POST",
        "transit/keys/tb/config",
        &json!({"min_decryption_version": 1}),
    );
    expect_open(&seal, &first);
}

#[test]
fn what_was_altered_moved_or_of_another_key_is_refused() {
    let bao = Bao::start();
    let seal = of(&bao);
    let wrapped = wrap(&seal);
    assert!(refused(block_on(seal.unwrap(&place(8), &wrapped))).starts_with("what it decrypted is no key"));

    let mut altered = wrapped.clone();
    let place_of_tag = altered.bytes.len() - 8;
    altered.bytes[place_of_tag] = if altered.bytes[place_of_tag] == b'A' {
        b'B'
    } else {
        b'A'
    };
    let reason = refused(block_on(seal.unwrap(&place(7), &altered)));
    assert!(
        reason.contains("it was altered, or another key has the name"),
        "{reason}"
    );

    // A key of the same name that is made anew.
    bao.root(
        "POST",
        "transit/keys/tb/config",
        &json!({"deletion_allowed": true}),
    );
    bao.root("DELETE", "transit/keys/tb", &json!({}));
    let reason = away(block_on(seal.unwrap(&place(7), &wrapped)));
    assert!(reason.contains("400 (encryption key not found)"), "{reason}");
    let reason = away(block_on(seal.wrap(&place(7), &secret())));
    assert!(reason.contains("403"), "the policy makes no key: {reason}");
    bao.root("POST", "transit/keys/tb", &json!({}));
    let reason = refused(block_on(seal.unwrap(&place(7), &wrapped)));
    assert!(
        reason.contains("it was altered, or another key has the name"),
        "{reason}"
    );
}

#[test]
fn a_token_without_the_right_is_away_until_there_is_another() {
    let mut bao = Bao::start();
    let seal = of(&bao);
    let wrapped = wrap(&seal);
    bao.put_token("hvs.nobody");
    let reason = away(block_on(seal.unwrap(&place(7), &wrapped)));
    assert!(
        reason.contains("403 (") && reason.contains("permission denied"),
        "{reason}"
    );
    assert!(!reason.contains("nobody") && !reason.contains('\n'), "{reason}");

    // What may only encrypt never becomes a seal.
    bao.write_token(POLICY.lines().nth(1).unwrap());
    away(block_on(seal.wrap(&place(7), &secret())));
    assert_eq!(
        block_on(seal.key_in_use()).unwrap(),
        "tb:v1",
        "found out by encrypting"
    );

    bao.write_token(POLICY);
    expect_open(&seal, &wrapped);
}

#[test]
fn a_sealed_server_is_away_until_it_is_unsealed() {
    let bao = Bao::start();
    let seal = of(&bao);
    let wrapped = wrap(&seal);
    bao.seal();
    for reason in [
        away(block_on(seal.unwrap(&place(7), &wrapped))),
        away(block_on(seal.key_in_use())),
    ] {
        assert!(
            reason.contains("503 (") && reason.contains("Vault is sealed"),
            "{reason}"
        );
    }
    bao.unseal();
    expect_open(&seal, &wrapped);
}

#[test]
fn a_server_whose_authority_is_not_trusted_gets_no_token() {
    let bao = Bao::start();
    let mut section = bao.section();
    section.ca_file = None;
    let reason = away(block_on(seal(&bao.source(), Some(section)).key_in_use()));
    assert!(
        reason.contains("certificate") && reason.contains("localhost"),
        "{reason}"
    );
}
