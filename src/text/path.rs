//! Paths, whose names others may have chosen.

use std::{ffi::OsStr, fmt, path::Path};

use super::one_line;

/// Shows paths in sentences.
pub trait ShowPath {
    /// The path, with an escape for whatever ends a line, moves a cursor or turns text round.
    fn shown(&self) -> ShownPath<'_>;
}

impl ShowPath for Path {
    fn shown(&self) -> ShownPath<'_> {
        ShownPath(self)
    }
}

impl ShowPath for OsStr {
    fn shown(&self) -> ShownPath<'_> {
        ShownPath(Path::new(self))
    }
}

/// A path in a sentence.
#[derive(Clone, Copy)]
pub struct ShownPath<'a>(&'a Path);

impl fmt::Display for ShownPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.0.to_string_lossy(), &[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_no_line_and_turns_no_text_round() {
        let shown = |path: &str| Path::new(path).shown().to_string();
        assert_eq!(
            shown("/etc/caf\u{e9} \u{1f642}/a.yaml"),
            "/etc/caf\u{e9} \u{1f642}/a.yaml"
        );
        assert_eq!(shown("/x/a\nERROR forged.yaml"), "/x/a\\nERROR forged.yaml");
        assert_eq!(shown("/x/\u{1b}[2J\u{202e}b"), "/x/\\u{1b}[2J\\u{202e}b");
    }
}
