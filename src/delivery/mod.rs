//! Brings tokens to agents: files that are replaced as a whole, and a socket that speaks HTTP and gRPC.

mod directory;
mod error;
mod render;
#[cfg(test)]
mod testing;
mod tree;

pub use error::DeliveryError;
