//! Why there is no answer.

use std::{error::Error, io, time::Duration};

use serde::{Deserialize, Serialize};

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
