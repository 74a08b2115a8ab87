//! The daemon's log, as text or as JSON lines, on standard error, which it never waits for ([`super::stderr`]).

use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

use super::stderr::Stderr;

/// Changes the level while the daemon runs.
pub struct LogHandle(reload::Handle<EnvFilter, Registry>);

impl LogHandle {
    /// Applies another filter, such as `info` or `token_broker=debug`.
    pub fn set_filter(&self, filter: &str) -> Result<(), String> {
        let filter = parse(filter)?;
        self.0.reload(filter).map_err(|error| error.to_string())
    }
}

/// Starts logging for this process: one JSON object a line, or text for people.
///
/// # Errors
/// When `filter` is not a filter, or the process logs already.
pub fn init(json: bool, filter: &str) -> Result<LogHandle, String> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(Stderr::queued()).with_target(false);
    let started = if json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        registry
            .with(lines.with_ansi(rustix::termios::isatty(rustix::stdio::stderr())))
            .try_init()
    };
    started.map_err(|error| error.to_string())?;
    Ok(LogHandle(handle))
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|error| {
        format!("`{filter}` is not a log level (error, warn, info, debug, trace) or filter: {error}")
    })
}
