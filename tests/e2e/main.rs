//! The real program from outside: each scene of what the project promises, on real processes, files and
//! sockets.

#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod agents;
mod backup;
mod budgets;
mod busy;
mod canary;
mod commands;
mod config_map;
mod confinement;
mod connect;
mod crash;
mod damage;
mod doctor;
mod dpop;
mod exec;
mod failures;
mod flood;
mod full_disk;
mod holders;
mod kept;
mod keys;
mod libraries;
mod lifecycle;
mod odd_answers;
mod outage;
mod postgres;
mod privileges;
mod reconnect;
mod remote_admin;
mod renewal;
mod risc;
mod service_accounts;
mod small_volume;
mod stderr;
mod systemd;
mod trust;
mod vanished;
