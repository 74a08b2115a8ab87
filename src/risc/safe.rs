//! Addresses that a document names.

use url::Url;

use crate::address::is_at_loopback;

/// Whether keys may be read from there: over HTTPS, or from loopback where their issuer is there too.
pub(super) fn is_safe(keys: &Url, document: &Url) -> bool {
    keys.scheme() == "https" || (document.scheme() == "http" && is_at_loopback(keys))
}
