//! Agents' manifests, from files and from the API.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| token_broker::manifest::fuzz::manifest(text));
