//! The store of one node: an `SQLite` database in a folder of its own.
//!
//! One thread writes, with group commit ([`writer`]); readers have connections of their own ([`reader`]). The
//! database is in WAL mode with `synchronous=FULL`: what was answered is on disk, and a process that is killed
//! leaves a database that opens again. No `rusqlite` type leaves this module.

mod agents;
mod backup;
mod bound;
mod checkpoint;
mod column;
mod committer;
mod connection;
mod damage;
mod database;
mod fault;
mod file_system;
mod folder;
mod give_back;
mod grants;
mod health_column;
mod holders;
mod integrations;
mod integrity;
mod key_check;
mod lineage;
mod objects;
mod operation;
mod pages;
mod place;
mod reader;
mod records;
mod reserve;
mod restore;
mod revocations;
mod rows;
mod schema;
mod security_events;
mod take_over;
#[cfg(test)]
mod tests;
mod tokens;
mod trail;
mod trail_clock;
mod trail_count;
mod trail_ends;
mod trail_page;
mod trail_prune;
mod trail_row;
mod trail_shown;
mod trail_size;
mod trail_verify;
mod trail_week;
mod upkeep;
mod volume;
mod writer;

pub use backup::DatabaseCopy;
pub use database::SqliteStore;
pub use restore::Restore;
