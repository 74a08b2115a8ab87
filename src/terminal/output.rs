//! The one place that writes: text or JSON on standard output, everything else on standard error.

use std::{
    io::{self, IsTerminal, Write},
    sync::Arc,
};

use clap::ValueEnum;
use comfy_table::{Cell, Table, presets};
use jiff::Timestamp;
use serde::Serialize;

use super::style::{Palette, Text, Tone, harmless};
use crate::{
    client::exit::{Exit, Failure},
    clock::{SharedClock, SystemClock},
    telemetry::stderr::Stderr,
};

/// What standard output carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Tables and sentences, for people.
    #[default]
    Text,
    /// One JSON document, for programs.
    Json,
}

/// Where a command writes, and the time that it shows.
pub(crate) struct Output {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    format: Format,
    palette_out: Palette,
    palette_err: Palette,
    progress: bool,
    interactive: bool,
    clock: SharedClock,
}

impl Output {
    /// Standard output and standard error. Colours only on a terminal, and not with `NO_COLOR`
    /// (<https://no-color.org>) or a terminal that knows none.
    pub(crate) fn standard(format: Format) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let palette = |terminal| {
            if terminal && wanted {
                Palette::Coloured
            } else {
                Palette::Plain
            }
        };
        Self {
            palette_out: palette(io::stdout().is_terminal()),
            palette_err: palette(io::stderr().is_terminal()),
            progress: std::env::var_os("TERM").is_none_or(|term| term != "dumb")
                && io::stderr().is_terminal(),
            interactive: io::stdin().is_terminal() && io::stderr().is_terminal(),
            out: Box::new(io::stdout()),
            err: Box::new(Stderr::in_order()),
            format,
            clock: Arc::new(SystemClock),
        }
    }

    /// True when a program reads the output.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// True when a person is there to answer a question.
    pub(crate) fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// True when progress may be drawn and redrawn.
    pub(crate) fn shows_progress(&self) -> bool {
        self.progress
    }

    /// The present moment.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The clock, for work that takes time.
    pub(crate) fn clock(&self) -> SharedClock {
        SharedClock::clone(&self.clock)
    }

    /// A line on standard output, for people.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.toned(Tone::Plain, text)
    }

    /// A line on standard output in a tone.
    pub(crate) fn toned(&mut self, tone: Tone, text: &str) -> Result<(), Failure> {
        let text = self.palette_out.paint(tone, &harmless(text, true));
        self.literal(&text)
    }

    /// A line on standard output as it is, for programs.
    pub(crate) fn literal(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.out, "{text}")?;
        Ok(self.out.flush()?)
    }

    /// After an empty line, what there is to say about `subject`, and where it can be fixed.
    pub(crate) fn remark(&mut self, subject: &str, text: &str, action_url: &str) -> Result<(), Failure> {
        if !text.is_empty() || !action_url.is_empty() {
            self.line("")?;
        }
        if !text.is_empty() {
            self.line(&format!("{subject}: {text}"))?;
        }
        if !action_url.is_empty() {
            self.line(&format!("  fix it: {action_url}"))?;
        }
        Ok(())
    }

    /// Text on standard output as it is, without a newline of its own.
    pub(crate) fn raw(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// A JSON document on one line of standard output.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(io::Error::from)?;
        self.literal(&text)
    }

    /// A table on standard output. Cells are never wrapped, so that every row stays one line for `grep`.
    pub(crate) fn table(&mut self, head: &[&str], rows: Vec<Vec<Text>>) -> Result<(), Failure> {
        let palette = self.palette_out;
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        // Every cell carries as many invisible characters as the others, so the layout holds.
        table.set_header(
            head.iter()
                .map(|name| Cell::new(palette.tint(Tone::Strong, name))),
        );
        for row in rows {
            table.add_row(
                row.into_iter()
                    .map(|cell| Cell::new(palette.tint(cell.tone, &cell.text))),
            );
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in table.lines() {
            writeln!(self.out, "{}", line.trim_end())?;
        }
        Ok(self.out.flush()?)
    }

    /// Lines of `name  value` on standard output, the values aligned; rows without a value are left out.
    pub(crate) fn fields(&mut self, fields: Vec<(&str, Text)>) -> Result<(), Failure> {
        let fields: Vec<_> = fields
            .into_iter()
            .filter(|(_, value)| !value.text.is_empty())
            .collect();
        let width = fields
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or_default();
        for (name, value) in fields {
            let name = format!("{name:width$}");
            let value = self.palette_out.paint(value.tone, &value.text);
            writeln!(
                self.out,
                "{}  {value}",
                self.palette_out.paint(Tone::Strong, &name)
            )?;
        }
        Ok(self.out.flush()?)
    }

    /// A line on standard error. When even that cannot be written, nobody is there to be told.
    pub(crate) fn note(&mut self, text: &str) {
        // As one piece: nothing else comes between the text and its end.
        let _ = self.err.write_all(format!("{text}\n").as_bytes());
    }

    /// Text on standard error without a newline: a question, or progress that is drawn over.
    pub(crate) fn prompt(&mut self, text: &str) {
        let _ = self.err.write_all(text.as_bytes());
    }

    /// Reports a failure on standard error: as a sentence, or as one JSON object.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        if failure.message.is_empty() {
            return;
        }
        if self.is_json() {
            // Strings and numbers only: this cannot fail.
            let text = serde_json::json!({ "error": failure, "exit_code": failure.exit.code() });
            return self.note(&text.to_string());
        }
        let label = self.palette_err.paint(Tone::Bad, "error:");
        let message = harmless(&failure.message, true);
        let reason = failure
            .reason
            .as_ref()
            .map(|reason| format!(" [{reason}]"))
            .unwrap_or_default();
        self.note(&format!("{label} {message}{reason}"));
        if let Some(url) = &failure.action_url {
            self.note(&format!("  fix it here: {url}"));
        }
    }
}

/// Output that cannot be written. A reader that has seen enough (`| head`) is no failure.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::new(Exit::Ok, "")
        } else {
            Self::new(Exit::Failed, format!("the output cannot be written: {error}"))
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! An output that a test reads.

    use std::sync::{Mutex, PoisonError};

    use super::{Arc, Format, Output, Palette, Timestamp, Write, io};
    use crate::clock::ManualClock;

    /// What was written.
    #[derive(Clone, Default)]
    pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        /// All of it.
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The moment that tests show.
    pub(crate) fn noon() -> Timestamp {
        "2024-01-15T12:00:00Z".parse().unwrap()
    }

    impl Output {
        /// Captures both streams at a fixed moment: the output, then what standard output and standard error
        /// got.
        pub(crate) fn captured(format: Format) -> (Self, Captured, Captured) {
            let (out, err) = (Captured::default(), Captured::default());
            let output = Self {
                out: Box::new(out.clone()),
                err: Box::new(err.clone()),
                format,
                palette_out: Palette::Plain,
                palette_err: Palette::Plain,
                progress: false,
                interactive: false,
                clock: Arc::new(ManualClock::new(noon())),
            };
            (output, out, err)
        }

        /// With progress, as on a terminal.
        pub(crate) fn with_progress(mut self) -> Self {
            self.progress = true;
            self
        }

        /// With colours, as on a terminal.
        pub(crate) fn coloured(mut self) -> Self {
            self.palette_out = Palette::Coloured;
            self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::exit::Exit;

    fn rows() -> Vec<Vec<Text>> {
        vec![
            vec!["alice".into(), Text::state("active"), "2".into()],
            vec!["bob".into(), Text::state("reconnect_required"), "10".into()],
        ]
    }

    #[test]
    fn a_table_is_aligned_without_borders() {
        let (mut output, out, _) = Output::captured(Format::Text);
        output.table(&["OWNER", "STATE", "AGENTS"], rows()).unwrap();
        assert_eq!(
            out.text(),
            "OWNER  STATE               AGENTS\n\
             alice  active              2\n\
             bob    reconnect_required  10\n"
        );
    }

    #[test]
    fn colours_do_not_move_the_columns() {
        let (output, out, _) = Output::captured(Format::Text);
        output
            .coloured()
            .table(&["OWNER", "STATE", "AGENTS"], rows())
            .unwrap();
        let coloured = out.text();
        assert!(coloured.contains("\x1b[32mactive\x1b[0m"), "{coloured:?}");
        let mut plain = coloured;
        for code in ["\x1b[39m", "\x1b[01m", "\x1b[31m", "\x1b[32m", "\x1b[0m"] {
            plain = plain.replace(code, "");
        }
        let plain: Vec<_> = plain.lines().map(str::trim_end).collect();
        assert_eq!(plain[2], "bob    reconnect_required  10");
        assert_eq!(plain[1], "alice  active              2");
    }

    #[test]
    fn text_from_elsewhere_cannot_move_the_cursor() {
        let (mut output, out, _) = Output::captured(Format::Text);
        output
            .fields(vec![("account", "a\x1b[2J@example.com".into())])
            .unwrap();
        assert_eq!(out.text(), "account  a\\u{1b}[2J@example.com\n");
    }

    #[test]
    fn fields_without_a_value_are_left_out() {
        let (mut output, out, _) = Output::captured(Format::Text);
        output
            .fields(vec![
                ("agent", "bot".into()),
                ("message", "".into()),
                ("owner id", "alice".into()),
            ])
            .unwrap();
        assert_eq!(out.text(), "agent     bot\nowner id  alice\n");
    }

    #[test]
    fn a_failure_is_a_sentence_for_people_and_an_object_for_programs() {
        let failure = Failure::new(Exit::NeedsPerson, "no account is connected")
            .with_reason("not_connected")
            .with_action_url("http://127.0.0.1:8420/a/bot");
        let (mut output, _, err) = Output::captured(Format::Text);
        output.failure(&failure);
        assert_eq!(
            err.text(),
            "error: no account is connected [not_connected]\n  fix it here: http://127.0.0.1:8420/a/bot\n"
        );
        let (mut output, out, err) = Output::captured(Format::Json);
        output.failure(&failure);
        let value: serde_json::Value = serde_json::from_str(&err.text()).unwrap();
        assert_eq!(value["error"]["code"], "not_connected");
        assert_eq!(value["error"]["action_url"], "http://127.0.0.1:8420/a/bot");
        assert_eq!(value["exit_code"], 5);
        assert_eq!(out.text(), "");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.exit, Exit::Ok);
        assert_eq!(
            Failure::from(io::Error::from(io::ErrorKind::StorageFull)).exit,
            Exit::Failed
        );
    }
}
