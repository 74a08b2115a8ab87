//! What the daemon serves over HTTP: the OAuth callback, a page per agent, metrics and health.

mod action;
mod callback;
pub(crate) mod help;
mod page;
mod risc;
mod routes;
mod server;

pub use routes::{Readiness, Web};
pub use server::HttpServer;
