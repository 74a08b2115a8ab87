//! Which addresses are this machine's own, also when IPv4 is written as IPv6 (RFC 4291, section 2.5.5.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::{Host, Url};

/// True for an address that this machine alone reaches.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// True when a URL's host is this machine, by name or number.
pub(crate) fn is_at_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => is_loopback(address.into()),
        Some(Host::Ipv6(address)) => is_loopback(address.into()),
        None => false,
    }
}

/// Where this machine reaches a listener: on the loopback, when it listens on every address.
pub(crate) fn from_here(listener: SocketAddr) -> SocketAddr {
    let address = match listener.ip().to_canonical() {
        IpAddr::V4(every) if every.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(every) if every.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        one => one,
    };
    SocketAddr::new(address, listener.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_known_however_it_is_written() {
        let is = |text: &str| is_loopback(text.parse().unwrap());
        for own in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(is(own), "{own}");
        }
        for other in ["10.0.0.1", "0.0.0.0", "::", "::ffff:10.0.0.1", "::127.0.0.1"] {
            assert!(!is(other), "{other}");
        }
    }

    #[test]
    fn a_url_is_at_this_machine_by_name_or_number() {
        let is = |text: &str| is_at_loopback(&text.parse().unwrap());
        for own in ["http://localhost:1", "http://127.0.0.1/x", "http://[::1]"] {
            assert!(is(own), "{own}");
        }
        for other in ["http://localhost.evil.example", "http://10.0.0.1", "unix:/x"] {
            assert!(!is(other), "{other}");
        }
    }

    #[test]
    fn what_listens_everywhere_is_reached_on_the_loopback() {
        for (listener, reached) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("[::ffff:0.0.0.0]:1", "127.0.0.1:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            let found = from_here(listener.parse().unwrap());
            assert_eq!(found, reached.parse().unwrap(), "{listener}");
        }
    }
}
