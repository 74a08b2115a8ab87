//! The daemon's log, as text or as JSON lines, on standard error, which it never waits for ([`super::stderr`]).

use std::io::{self, Write};

use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

use super::stderr::Stderr;
use crate::text::one_line;

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
    let lines = fmt::layer().with_target(false);
    let started = if json {
        // JSON has escapes of its own.
        let lines = lines.json().flatten_event(true).with_writer(Stderr::queued());
        registry.with(lines).try_init()
    } else {
        let coloured = rustix::termios::isatty(rustix::stdio::stderr());
        let lines = lines.with_ansi(coloured).with_writer(move || Lines {
            to: Stderr::queued(),
            coloured,
        });
        registry.with(lines).try_init()
    };
    started.map_err(|error| error.to_string())?;
    Ok(LogHandle(handle))
}

/// Writes each event as one line: text from outside, such as the name of a file, begins none.
struct Lines<W> {
    to: W,
    coloured: bool,
}

impl<W: Write> Write for Lines<W> {
    /// `event` is a whole one, as the layer hands it on.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        // What the layer colours with. In an event's own text it has written an escape for it.
        let kept: &[char] = if self.coloured { &['\u{1b}'] } else { &[] };
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let mut line = one_line(line, kept).into_owned();
        line.push('\n');
        self.to.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|error| {
        format!("`{filter}` is not a log level (error, warn, info, debug, trace) or filter: {error}")
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_it_repeats() {
        let written = Written::default();
        let to = written.clone();
        let lines = fmt::layer()
            .without_time()
            .with_ansi(false)
            .with_writer(move || Lines {
                to: to.clone(),
                coloured: false,
            });
        tracing::subscriber::with_default(Registry::default().with(lines), || {
            tracing::warn!(name = "b\nERROR c", "a\r\nERROR forged \u{202e}x \u{e9}");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("a\\r\\nERROR forged \\u{202e}x \u{e9}"), "{text}");
        assert!(text.ends_with('\n'), "{text}");
    }
}
