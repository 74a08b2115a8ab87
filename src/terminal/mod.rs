//! What a command says to whoever started it: text or JSON, colours where they are seen, progress, and questions.

pub(crate) mod browser;
pub(crate) mod output;
pub(crate) mod progress;
pub(crate) mod prompt;
pub(crate) mod style;
