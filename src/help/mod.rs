//! What can go wrong, told once, for people who never heard of OAuth.
//!
//! A topic is a file under `docs/src/troubleshooting`, in Markdown, compiled into the program. The pages below `/help`
//! and `FAILURES.md` are both made from them. They hold no data of anybody's.

pub(crate) mod chapters;
mod endings;
mod markdown;
mod reading;
pub(crate) mod text;
pub(crate) mod topic;

#[cfg(test)]
mod tests;

pub(crate) use chapters::{find, of_state};
pub(crate) use endings::of_connect;
pub(crate) use markdown::inline;
