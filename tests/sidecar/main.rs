//! Sidecars from outside: the real program beside an agent, a real daemon on the node or behind TLS, and a server that
//! answers as the Kubernetes API does.

#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "../clients/installed.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod installed;
#[path = "../csi/kubernetes.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod kubernetes;
#[path = "../support/mod.rs"]
mod support;

mod away;
mod beside;
mod budgets;
mod certificate;
mod curl;
mod ending;
mod former_broker;
mod forwarded;
mod holders;
mod node;
mod pod;
mod ready;
mod refused;
mod remote;
mod rotation;
mod stranger;
mod vanished;
