//! What a command runs on: one thread's async runtime, and standard error to its last line.

use std::time::Duration;

use crate::{
    client::exit::{Exit, Failure},
    telemetry::stderr,
};

/// How long the end waits for what reads standard error.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs a command that does one thing after the other: one thread is enough, and quick to start.
pub(super) fn wait_for<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .map_err(|error| Failure::new(Exit::Failed, format!("the async runtime cannot start: {error}")))?
        .block_on(command)
}

/// Waits until standard error has everything that was written to it.
pub(super) fn flush() {
    stderr::flush(LAST_WORDS);
}
