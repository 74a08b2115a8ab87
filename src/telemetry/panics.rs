//! Panics as lines of the log.

use std::{backtrace::Backtrace, io::Write, panic};

use super::stderr::Stderr;

/// Says each panic of this process where everything else is said, which nobody waits for. With `RUST_BACKTRACE` it says
/// how it came to it as well.
pub fn tell() {
    panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "without a message".to_owned());
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let backtrace = Backtrace::capture();
        if tracing::enabled!(tracing::Level::ERROR) {
            tracing::error!(place, thread, "a fault in token-broker, a panic: {message}");
        } else {
            let _ = Stderr::queued()
                .write_all(format!("token-broker: a fault, a panic at {place}: {message}\n").as_bytes());
        }
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            let _ = Stderr::queued().write_all(format!("{backtrace}\n").as_bytes());
        }
    }));
}
