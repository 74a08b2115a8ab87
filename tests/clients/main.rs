//! Clients that were not written here: Google's client libraries for Python, Node and Go, gRPC, curl, a shell, dotenv.
//! `tests/run` installs what they need.

#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "../support/mod.rs"]
mod support;

mod canary;
mod curl;
mod dotenv;
mod google;
mod grpc;
mod installed;
mod libraries;
mod proxy;
