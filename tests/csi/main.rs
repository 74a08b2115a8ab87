//! The CSI driver from outside: the real program, called as the kubelet calls it, with a server that answers as the
//! Kubernetes API does, and real mounts.

#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "../support/mod.rs"]
mod support;

mod doctor;
mod kubelet;
#[allow(dead_code, reason = "each test program uses its part")]
mod kubernetes;
mod platform;
mod publish;
mod refused;
mod registration;
mod restart;
mod sanity;
mod taint;
mod vanished;
mod withdrawn;
