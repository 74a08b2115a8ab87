//! Service accounts' key files.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| token_broker::provider::google::fuzz::key_file(text));
