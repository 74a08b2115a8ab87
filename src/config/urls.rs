//! The URLs that a configuration says, and those that follow from it.

use std::net::SocketAddr;

use url::Url;

use super::error::ConfigError;
use crate::address;

/// True for an `http` or `https` URL that has no user, query or fragment.
pub(super) fn is_plain_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
}

/// The URL of a page below `base`, whether or not that ends in a slash.
pub(super) fn below(base: &Url, page: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{page}", base.path().trim_end_matches('/')));
    url
}

/// How a browser on this machine reaches an address that HTTP is served on.
pub(super) fn local(key: &str, listen: SocketAddr) -> Result<Url, ConfigError> {
    Url::parse(&format!("http://{}", address::from_here(listen)))
        .map_err(|error| ConfigError::new(format!("{key} {listen}: no URL follows from it: {error}")))
}
