//! The emulator over real sockets: every statement of Google's contract that it promises is a test.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod apis;
mod consent;
mod dpop;
mod faults;
mod refresh;
mod revocation;
mod risc;
mod service_accounts;
mod support;
