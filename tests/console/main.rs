//! The console from outside: what people see there, and what attackers try. `walk` plays it in a real browser.

#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "../support/mod.rs"]
mod support;

mod activity;
mod addresses;
mod attacks;
mod browser;
mod callback;
mod host;
mod isolation;
mod live;
mod methods;
mod nginx;
mod proxy;
mod scene;
mod sign_in;
mod walk;
