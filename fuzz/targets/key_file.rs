//! Service accounts' key files.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| token_broker::google::fuzz::key_file(text));
