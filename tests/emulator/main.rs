//! The emulator over real sockets: every statement of Google's contract that it promises is a test.

#![cfg(feature = "emulator")]

mod apis;
mod consent;
mod faults;
mod refresh;
mod revocation;
mod service_accounts;
mod support;
