//! One `SQLite` file: its folder and its place, room on its disk, connections, and what can go wrong.

pub(crate) mod checkpoint;
pub(crate) mod connection;
pub(crate) mod damage;
mod engine;
pub(crate) mod fault;
pub(crate) mod file_system;
pub(crate) mod folder;
pub(crate) mod integrity;
pub(crate) mod objects;
pub(crate) mod operation;
pub(crate) mod pages;
pub(crate) mod place;
pub(crate) mod reader;
pub(crate) mod reserve;
pub(crate) mod schema;
pub(crate) mod volume;
