//! An agent's directory and files on disk.

pub(crate) mod directory;
pub(crate) mod entry;
pub(crate) mod error;
pub(crate) mod files;
pub(crate) mod mark;
pub(crate) mod pool;
pub(crate) mod room;
pub(crate) mod runtime;
pub(crate) mod tree;
