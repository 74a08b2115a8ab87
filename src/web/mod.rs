//! What the daemon serves over HTTP: the console, the OAuth callback, a page per agent, metrics and health.

mod action;
mod answer;
mod body;
mod callback;
mod console;
mod figures;
#[cfg(fuzzing)]
pub mod fuzz;
mod help;
mod page;
mod public_address;
mod risc;
mod routes;
mod sentence;
mod server;

pub use console::{Console, ConsoleOptions, HealthFacts};
pub use figures::Figures;
pub use public_address::PublicAddress;
pub use routes::Web;
pub use server::HttpServer;
