//! What a token endpoint may answer, well or badly.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| token_broker::provider::google::fuzz::token_answer(bytes));
