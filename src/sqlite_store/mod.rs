//! The store of one node: an `SQLite` database in a folder of its own.
//!
//! One thread writes, with group commit ([`writer`]); readers have connections of their own ([`reader`]). The
//! database is in WAL mode with `synchronous=FULL`: what was answered is on disk, and a process that is killed
//! leaves a database that opens again. No `rusqlite` type leaves this module.

mod backup;
mod committer;
mod database;
mod give_back;
mod grants;
mod integrations;
mod key_check;
mod keyed;
mod keyring;
mod lineage;
mod records;
mod restore;
mod take_over;
#[cfg(test)]
mod tests;
mod tokens;
mod upkeep;
mod writer;

pub use backup::DatabaseCopy;
pub use database::SqliteStore;
pub use restore::Restore;
