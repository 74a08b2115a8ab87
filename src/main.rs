//! The `token-broker` program.

use std::process::ExitCode;

use token_broker::cli::{self, Programs};

fn main() -> ExitCode {
    cli::run(std::env::args_os(), &Programs::default())
}
