//! A KMS plugin as the seal.

use crate::{away, expect_open, place, plugin::Plugin, refused, seal, secret, support::block_on, wrap};

#[test]
fn a_key_in_a_token_wraps_keys_and_its_successor_leaves_them_open() {
    let plugin = Plugin::start();
    let seal = seal(&plugin.source(), None);
    assert_eq!(block_on(seal.key_in_use()).unwrap(), "key-1");
    let first = wrap(&seal);
    assert_eq!(
        (first.seal.as_str(), first.seal_key.as_str()),
        (seal.name(), "key-1")
    );
    expect_open(&seal, &first);
    assert!(refused(block_on(seal.unwrap(&place(8), &first))).starts_with("what it decrypted is no key"));

    plugin.make_key("key-2", "02");
    plugin.use_key("key-2");
    assert_eq!(block_on(seal.key_in_use()).unwrap(), "key-2");
    assert_eq!(wrap(&seal).seal_key, "key-2");
    expect_open(&seal, &first);

    plugin.delete_key("key-1");
    let reason = away(block_on(seal.unwrap(&place(7), &first)));
    assert!(reason.starts_with("the plugin answers Decrypt with "), "{reason}");
}

#[test]
fn a_plugin_that_is_away_or_gone_is_used_again_when_it_is_back() {
    let mut plugin = Plugin::start();
    let seal = seal(&plugin.source(), None);
    let wrapped = wrap(&seal);
    plugin.set_away(true);
    for reason in [
        away(block_on(seal.wrap(&place(7), &secret()))),
        away(block_on(seal.key_in_use())),
    ] {
        assert!(
            reason.contains("not healthy") && reason.contains("the token is away"),
            "{reason}"
        );
    }
    let reason = away(block_on(seal.unwrap(&place(7), &wrapped)));
    assert!(reason.contains("the token is away"), "{reason}");
    plugin.set_away(false);
    expect_open(&seal, &wrapped);

    plugin.stop();
    away(block_on(seal.unwrap(&place(7), &wrapped)));
    plugin.serve();
    expect_open(&seal, &wrapped);
}

#[test]
fn what_was_altered_is_not_opened() {
    let plugin = Plugin::start();
    let seal = seal(&plugin.source(), None);
    let wrapped = wrap(&seal);
    let mut altered = wrapped.clone();
    altered.bytes[20] ^= 1;
    assert!(block_on(seal.unwrap(&place(7), &altered)).is_err());
    expect_open(&seal, &wrapped);
}
