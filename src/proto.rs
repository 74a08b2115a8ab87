//! The generated messages and services of `proto/`.

use zeroize::Zeroize;

pub use generated::{csi, kms, pluginregistration, v1};

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

    /// `v2`: the plugins of Kubernetes that keep a key (KMS).
    pub mod kms {
        tonic::include_proto!("v2");
    }

    /// `pluginregistration`: how the kubelet learns of a driver.
    pub mod pluginregistration {
        tonic::include_proto!("pluginregistration");
    }
}

/// Messages that carry a secret wipe it when they are dropped, also where that is in tonic's hands: after they were encoded.
macro_rules! wiped {
    ($($message:ident.$secret:ident),+ $(,)?) => {$(
        impl Zeroize for v1::$message {
            fn zeroize(&mut self) {
                self.$secret.zeroize();
            }
        }

        impl Drop for v1::$message {
            fn drop(&mut self) {
                self.zeroize();
            }
        }
    )+};
}

wiped!(
    AccessToken.access_token,
    AddServiceAccountRequest.key_file,
    BeginConnectResponse.authorization_url,
    BeginSessionResponse.url,
    CompleteConnectRequest.redirect_url,
    ImportIntegrationRequest.grant,
);

/// What server reflection serves: every file under `proto/tokenbroker`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// A moment as protobuf carries it.
pub fn timestamp(time: jiff::Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    }
}

/// A moment that came as protobuf carries it; `None` when it is absent or out of range.
pub(crate) fn moment(time: Option<prost_types::Timestamp>) -> Option<jiff::Timestamp> {
    time.and_then(|time| jiff::Timestamp::new(time.seconds, time.nanos).ok())
}

/// The stable code of an enum's name: without the prefix, in lower case.
pub(crate) fn code(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wiped_of_a_message_is_its_secret_alone() {
        let mut message = v1::BeginSessionResponse {
            url: "https://broker.example/console/enter?token=sesame".to_owned(),
            expires_at: Some(timestamp(jiff::Timestamp::UNIX_EPOCH)),
        };
        message.zeroize();
        assert_eq!(message.url, "");
        assert!(message.expires_at.is_some());
    }

    #[test]
    fn a_moment_out_of_range_is_none() {
        assert_eq!(
            moment(Some(prost_types::Timestamp {
                seconds: i64::MAX,
                nanos: 0
            })),
            None
        );
        assert_eq!(
            moment(Some(prost_types::Timestamp { seconds: 0, nanos: 0 })),
            Some(jiff::Timestamp::UNIX_EPOCH)
        );
    }
}
