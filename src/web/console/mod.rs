//! The console: where people connect accounts, see what agents may do, and disconnect.
//!
//! Each group of pages is a type that holds what it needs. [`gate`] stands before all of them.

mod activity;
mod agents;
mod asked;
mod audit_row;
mod chart;
mod connect;
mod disconnect;
mod form;
mod gate;
mod health;
mod integrations;
mod labels;
mod layout;
mod live;
mod notice;
mod refusal;
mod routes;
mod service_account;
mod shares;
mod sign_in;
mod site;
mod trail;

#[cfg(fuzzing)]
pub(super) use form::fuzz;
pub use health::HealthFacts;
pub(super) use routes::{ConsoleParts, console};
