//! A `PostgreSQL` database: how it is reached, statements and rows, its schema, and what can go wrong.
//!
//! Nothing here depends on a session's state, so that a pooler may give each transaction another connection.

mod engine;
pub(crate) mod fault;
pub(crate) mod schema;
pub(crate) mod session;
mod tls;
