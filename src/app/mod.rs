//! The composition root: puts the parts together and returns what it bound, so that tests run the real
//! program.

mod daemon;
mod database;
#[cfg(feature = "emulator")]
mod demo;
#[cfg(test)]
mod failures;
#[cfg(feature = "emulator")]
mod google_emulator;
mod keyring;
mod listeners;
mod node;
mod node_daemon;
mod pages;
mod parts;
mod ports;
mod runtime;
mod serve;
mod sidecar;
mod starting;
mod supervision;
mod tasks;
mod trail;

use std::process::ExitCode;

pub use daemon::{App, start_broker};
pub use parts::AppParts;

use crate::cli::{self, Programs};

/// The program: arguments in, exit code out.
pub fn main() -> ExitCode {
    let programs = Programs {
        serve: Some(serve::run),
        sidecar: Some(sidecar::run),
        #[cfg(feature = "emulator")]
        demo: Some(demo::run),
        #[cfg(feature = "emulator")]
        google_emulator: Some(google_emulator::run),
        #[cfg(not(feature = "emulator"))]
        demo: None,
        #[cfg(not(feature = "emulator"))]
        google_emulator: None,
    };
    cli::run(std::env::args_os(), &programs)
}
