//! The `token-broker` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    token_broker::app::main()
}
