//! Agents in real OCI containers: `runc`, an image that holds busybox and the static program, and no libc.
//!
//! Needs root, and what `tests/run` installs and builds.

#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "../support/mod.rs"]
mod support;

mod bundle;
mod container;
mod doctor;
mod entry_point;
mod isolation;
mod libraries;
mod many;
mod pod;
mod renewals;
mod restart;
