//! The store of a broker whose records are in a `PostgreSQL` database.
//!
//! One thread writes, with group commit ([`writer`]): each transaction takes the broker's own row with it, and a number that
//! grows, by which a commit is known whose answer never came. Readers have connections of their own. Each is at the primary.

mod accounts;
mod brokers;
mod database;
mod grants;
mod journal;
mod keyed;
mod keyring;
mod looking;
mod operation;
mod reader;
mod records;
mod tokens;
mod upkeep;
mod writer;

pub use database::PostgresStore;
pub use looking::{BrokerFacts, ServerFacts};
