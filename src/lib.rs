//! token-broker keeps agents supplied with short-lived Google access tokens.
//!
//! The modules form layers; a module imports only those before it in this list (a test holds the rule):
//! `address budget clock entropy followed health id secret proto telemetry text`, `config client`, `catalog`, `vault`, `store`,
//! `google agent session`, `broker`, `delivery`, `doctor supervisor`, `web cli`, `app`. `ARCHITECTURE.md` says what each is for.

pub mod address;
pub mod agent;
pub mod app;
pub mod broker;
pub mod budget;
pub mod catalog;
pub mod cli;
mod client;
pub mod clock;
pub mod config;
pub mod delivery;
mod doctor;
pub mod entropy;
mod file;
mod followed;
pub mod google;
pub mod health;
pub mod id;
pub mod lifecycle;
pub mod proto;
pub mod secret;
pub mod session;
pub mod store;
mod supervisor;
pub mod telemetry;
pub mod text;
pub mod vault;
pub mod web;
