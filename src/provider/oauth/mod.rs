//! OAuth 2.0 and `OpenID` Connect, as every server speaks them; what differs is a [`Dialect`].

mod authorize;
mod client;
mod dialect;
mod endpoints;
pub(crate) mod idtoken;
pub(crate) mod jwks;
mod options;
pub mod redirect;
pub(crate) mod refusal;
mod refused;
mod revocation;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod token;

pub use client::Client;
pub use dialect::Dialect;
pub use endpoints::Endpoints;
pub use options::ClientOptions;
pub use redirect::Redirect;

pub(crate) use refused::{refused, refused_consent};
