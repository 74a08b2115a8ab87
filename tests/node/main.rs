//! Nodes from outside: what a broker tells a machine that shows a certificate, over real TLS.

#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "../support/mod.rs"]
mod support;

mod away;
mod broker;
mod machine;
mod refused;
mod served;
mod told;
