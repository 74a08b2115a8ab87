//! Why there is no answer.

use std::{error::Error, io, time::Duration};

use serde::{Deserialize, Serialize};

use crate::text::scrub::plain;

/// Why there is no answer. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransportError {
    /// This machine trusts no certificate authority.
    NoRoots(String),
    /// The server's certificate was not accepted.
    Certificate(String),
    /// No connection stood in time.
    NoConnection,
    /// The whole took longer than this.
    Timeout(Duration),
    /// The answer is longer than this many bytes.
    TooLarge(usize),
    /// The answer is compressed in this way, which nobody asked for.
    Encoding(String),
    /// The proxy on the way does not let this machine through.
    ProxyCredentials(String),
    /// Anything else between here and there.
    Network(String),
}

impl TransportError {
    /// What kept `host`, whoever that is, from giving an answer; a sentence.
    pub(crate) fn sentence(&self, host: &str) -> String {
        match self {
            Self::NoRoots(reason) => format!(
                "No certificate authorities to check {host} with: install the system's `ca-certificates` or name a bundle \
                 with SSL_CERT_FILE ({reason})."
            ),
            Self::Certificate(reason) => format!(
                "The TLS certificate of {host} was not accepted: {reason}. A proxy may stand between, its authority may be \
                 unknown here, or this machine's clock may be wrong."
            ),
            Self::NoConnection => format!("{host} took no connection in time."),
            Self::Timeout(limit) => format!("{host} did not answer within {limit:?}."),
            Self::TooLarge(limit) => {
                format!("{host} sent more than {limit} bytes, more than any answer of use has.")
            }
            Self::Encoding(encoding) => format!(
                "{host} sent an answer that is compressed as `{}`, although it was asked not to compress it: a proxy may \
                 stand between.",
                plain(encoding)
            ),
            Self::ProxyCredentials(reason) => format!(
                "{host} cannot be reached: {reason}. Give them to the daemon in HTTPS_PROXY, as \
                 http://NAME:PASSWORD@HOST:PORT."
            ),
            Self::Network(reason) => format!("{host} cannot be reached: {reason}."),
        }
    }

    /// It may be another time by itself: nothing of this machine's has to be set up first.
    pub(crate) fn may_pass(&self) -> bool {
        !matches!(self, Self::NoRoots(_) | Self::ProxyCredentials(_))
    }
}

/// Nobody is trusted, for this reason.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoRoots(pub(super) String);

/// The proxy wants a name and a password, or others.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ProxyCredentials(pub(super) String);

/// Why a certificate is not accepted, in words where the library has a name alone. What `openssl req -x509` makes, unless
/// told otherwise, is an authority's.
pub(super) fn certificate_reason(error: &rustls::CertificateError) -> String {
    let said = error.to_string();
    if said.contains("CaUsedAsEndEntity") {
        return "it is an authority's own (CA:TRUE), not a server's: make one with basicConstraints=CA:FALSE"
            .to_owned();
    }
    said
}

/// The cause that the others only wrap.
pub(crate) fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Finds what a person would want to know at the bottom of a chain of errors.
pub(super) fn transport_error(error: &(dyn Error + 'static)) -> TransportError {
    let mut cause = error;
    loop {
        if let Some(rustls::Error::InvalidCertificate(reason)) = cause.downcast_ref() {
            return TransportError::Certificate(certificate_reason(reason));
        }
        if let Some(proxy) = cause.downcast_ref::<ProxyCredentials>() {
            return TransportError::ProxyCredentials(proxy.to_string());
        }
        if let Some(NoRoots(reason)) = cause.downcast_ref() {
            return TransportError::NoRoots(reason.clone());
        }
        let io = cause.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return TransportError::NoConnection;
        }
        // `io::Error` leaves out of `source` what it wraps.
        let wrapped = io
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn Error + 'static));
        match wrapped.or_else(|| cause.source()) {
            Some(next) => cause = next,
            None => return TransportError::Network(cause.to_string()),
        }
    }
}
