//! The composition root: puts the parts together and returns what it bound, so that tests run the real
//! program.

mod daemon;
mod serve;

pub use daemon::{App, AppParts};
pub use serve::serve;
