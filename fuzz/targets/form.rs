//! A form of the console.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| token_broker::web::fuzz::form(bytes));
