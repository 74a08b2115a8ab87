//! What leaves the broker.

pub mod admin;
