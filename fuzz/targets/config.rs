//! The configuration file.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| token_broker::config::fuzz::config(text));
