//! token-broker keeps agents supplied with short-lived Google access tokens.
//!
//! The modules form layers; a module imports only those of the layers before its own. `ARCHITECTURE.md` lists them and says what
//! each is for; `tests/layers.rs` holds the rule.

mod accounts;
pub mod address;
pub mod admin_api;
pub mod agent_api;
mod agent_files;
mod agent_view;
pub mod app;
mod audit;
mod audit_trail;
pub mod broker;
pub mod budget;
pub mod capability;
pub mod cause;
pub mod cli;
mod client;
pub mod clock;
pub mod config;
pub mod delivery;
mod doctor;
pub mod dpop;
pub mod entropy;
mod file;
mod followed;
pub mod health;
mod help;
pub mod http_client;
pub mod id;
pub(crate) mod jws;
pub mod keyring;
pub mod kubernetes;
pub mod lifecycle;
pub mod manifest;
pub mod net;
pub mod node;
pub(crate) mod node_api;
pub mod pod_api;
mod policy;
mod postgres;
pub mod postgres_store;
pub mod proto;
pub mod provider;
mod registry;
pub mod relay;
mod renewal;
mod revocation;
pub mod risc;
pub mod seal;
pub mod secret;
pub mod session;
pub mod sidecar;
mod sql;
mod sqlite;
pub mod sqlite_store;
pub mod store;
pub mod store_copy;
mod supervisor;
mod tables;
pub mod telemetry;
mod terminal;
#[cfg(test)]
mod testing;
pub mod text;
pub mod vault;
pub mod web;
