//! Security event tokens: their header, and claims as if their signature were right.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| token_broker::risc::fuzz(bytes));
