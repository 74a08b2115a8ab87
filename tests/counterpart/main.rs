//! The same daemon against an OAuth server that was not written here: npm's `oidc-provider`, which demands PKCE,
//! rotates refresh tokens and punishes their reuse. `tests/run` installs it.

#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "../support/mod.rs"]
mod support;

mod browser;
mod connect;
mod dpop;
mod other_provider;
mod provider;
mod revoke;
mod rotation;
