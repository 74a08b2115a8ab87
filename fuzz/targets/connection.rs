//! The first bytes of an HTTP/2 connection, whatever their pieces.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| token_broker::delivery::fuzz::connection(bytes));
