//! What the benchmarks share: each measures ours beside its floor, in turns, in one run.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stdout,
    reason = "each benchmark uses a part; printing is what it is for"
)]

pub mod agents;
pub mod broker;
pub mod ratio;
