//! What the daemon serves over HTTP: the console, the OAuth callback, a page per agent, metrics and health.

mod agent_page;
mod answer;
mod auth;
mod body;
mod callback;
mod console;
#[cfg(fuzzing)]
pub mod fuzz;
mod help;
mod page;
mod paths;
mod probes;
mod risc;
mod routes;
mod server;

pub use console::HealthFacts;
pub use routes::{Web, WebParts};
pub use server::HttpServer;
