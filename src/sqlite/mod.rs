//! One `SQLite` file: its folder and its place, room on its disk, connections, what can go wrong, and rows that are bound to
//! where they lie.

pub(crate) mod bound;
pub(crate) mod checkpoint;
pub(crate) mod column;
pub(crate) mod connection;
pub(crate) mod damage;
pub(crate) mod fault;
pub(crate) mod file_system;
pub(crate) mod folder;
pub(crate) mod integrity;
pub(crate) mod keyed;
pub(crate) mod objects;
pub(crate) mod operation;
pub(crate) mod pages;
pub(crate) mod place;
pub(crate) mod reader;
pub(crate) mod reserve;
pub(crate) mod rows;
pub(crate) mod schema;
pub(crate) mod volume;
