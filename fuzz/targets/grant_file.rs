//! Grants that are imported: refresh tokens, and `authorized_user` files around them.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| token_broker::provider::google::fuzz::grant_file(text));
