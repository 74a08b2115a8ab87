//! Queries on an agent's socket, and redirects from a consent.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    token_broker::delivery::fuzz::query(text);
    token_broker::provider::google::fuzz::redirect(text);
});
