//! Listeners, connections and their budgets: what every surface is served by.

pub mod accept;
pub(crate) mod certificate_names;
mod client_verifier;
pub(crate) mod connection;
pub mod event_stream;
pub(crate) mod folders;
pub(crate) mod guarded;
pub(crate) mod h2_authority;
pub mod host;
pub(crate) mod local;
pub(crate) mod opening;
pub(crate) mod public_address;
pub(crate) mod seats;
pub mod tcp;
pub mod tls;
pub(crate) mod tls_files;
pub(crate) mod tls_listener;
pub(crate) mod validity;
