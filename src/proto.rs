//! The generated messages and services of `proto/`.

pub use generated::{csi, pluginregistration, v1};

#[allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    unreachable_pub,
    reason = "generated"
)]
mod generated {
    /// `tokenbroker.v1`.
    pub mod v1 {
        tonic::include_proto!("tokenbroker.v1");
    }

    /// `csi.v1`: the Container Storage Interface, as far as a node serves it.
    pub mod csi {
        tonic::include_proto!("csi.v1");
    }

    /// `pluginregistration`: how the kubelet learns of a driver.
    pub mod pluginregistration {
        tonic::include_proto!("pluginregistration");
    }
}

/// What server reflection serves: every file under `proto/tokenbroker`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// A moment as protobuf carries it.
pub fn timestamp(time: jiff::Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    }
}
