//! How text looks: tones that show on a terminal, cells of tables, and nothing that moves a cursor.

use crate::text::one_line;

/// How a piece of text is meant. It shows only on a terminal, and never alone: the words say it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// A heading.
    Strong,
    /// All is well.
    Good,
    /// Worth a look.
    Warn,
    /// Somebody has to act.
    Bad,
}

impl Tone {
    /// The tone of an agent's or an account's state.
    pub(crate) fn of_state(state: &str) -> Self {
        match state {
            "active" => Self::Good,
            "provider_unavailable" | "not_connected" => Self::Warn,
            _ => Self::Bad,
        }
    }

    /// The SGR parameter (ECMA-48). Always two characters: see [`Palette::tint`].
    fn sgr(self) -> &'static str {
        match self {
            Self::Plain => "39",
            Self::Strong => "01",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
        }
    }
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) tone: Tone,
    pub(crate) text: String,
}

impl Text {
    /// A cell in a tone.
    pub(crate) fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self {
            tone,
            text: harmless(&text.into(), false),
        }
    }

    /// A state's name in its tone.
    pub(crate) fn state(state: &str) -> Self {
        Self::toned(Tone::of_state(state), state)
    }
}

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Self {
        Self::toned(Tone::Plain, text)
    }
}

/// Whether tones show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Palette {
    /// As colours (ECMA-48).
    Coloured,
    /// Not at all.
    Plain,
}

impl Palette {
    /// `text` in a tone.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        if tone == Tone::Plain {
            text.to_owned()
        } else {
            self.tint(tone, text)
        }
    }

    /// Like [`Self::paint`], but every tone adds as many invisible characters as any other, so that a layout
    /// which counts them still holds.
    pub(crate) fn tint(self, tone: Tone, text: &str) -> String {
        match self {
            Self::Coloured => format!("\x1b[{}m{text}\x1b[0m", tone.sgr()),
            Self::Plain => text.to_owned(),
        }
    }
}

/// Text that came from elsewhere must not move the reader's cursor, nor turn what follows round; in a sentence a line may
/// end.
pub(crate) fn harmless(text: &str, lines: bool) -> String {
    let kept: &[char] = if lines { &['\n'] } else { &[] };
    one_line(text, kept).into_owned()
}

/// The text, or a dash where there is none.
pub(crate) fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_stays_and_nothing_turns_a_line_round() {
        assert_eq!(harmless("ผู้ใช้ e\u{301} 🙂", false), "ผู้ใช้ e\u{301} 🙂");
        assert_eq!(harmless("a\nb\u{1b}[2J", true), "a\nb\\u{1b}[2J");
        assert_eq!(harmless("a\nb", false), "a\\nb");
        assert_eq!(
            harmless("nob\u{202e}gnp.exe\u{200b}", true),
            "nob\\u{202e}gnp.exe\\u{200b}"
        );
    }
}
