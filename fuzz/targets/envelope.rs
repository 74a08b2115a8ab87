//! Sealed secrets and key files as they lie on disk.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| token_broker::vault::fuzz::envelope(bytes));
