//! The `token-broker` program.

fn main() {}
