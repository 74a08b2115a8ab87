//! What bytes from browsers reach first, for the fuzzers in `fuzz/`.

/// A form of the console: its media type, a line's end, and its body.
pub fn form(bytes: &[u8]) {
    super::console::fuzz(bytes);
}
