//! Where tokens come from.

use std::{fmt, path::PathBuf, str::FromStr};

use url::Url;

use crate::text::ShowPath;

/// Where tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The agent's socket of the node's daemon.
    Socket(PathBuf),
    /// A broker that serves sidecars over TLS (`[remote]`).
    Tls(Url),
}

impl FromStr for Source {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "write unix:///PATH of a broker.sock, or https://HOST:PORT of a broker";
        if let Some(path) = text.strip_prefix("unix://") {
            return Some(Self::Socket(path.into()))
                .filter(|_| path.starts_with('/'))
                .ok_or(EXPECTED);
        }
        let url = Url::parse(text).map_err(|_| EXPECTED)?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let anonymous = url.username().is_empty() && url.password().is_none();
        if url.scheme() == "https" && url.host_str().is_some() && bare && anonymous {
            Ok(Self::Tls(url))
        } else {
            Err(EXPECTED)
        }
    }
}

/// As messages name it.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "the broker on {}", path.shown()),
            Self::Tls(url) => write!(
                f,
                "the broker at {}:{}",
                url.host_str().unwrap_or_default(),
                url.port_or_known_default().unwrap_or_default()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_socket_or_a_broker_over_tls() {
        let socket: Source = "unix:///volume/broker.sock".parse().unwrap();
        assert_eq!(socket, Source::Socket("/volume/broker.sock".into()));
        let tls: Source = "https://token-broker.example:8443".parse().unwrap();
        assert_eq!(tls.to_string(), "the broker at token-broker.example:8443");
        for wrong in [
            "unix://relative",
            "http://plain.example",
            "https://host/path",
            "https://user@host",
            "https://host?a=b",
            "/path",
            "",
        ] {
            assert!(wrong.parse::<Source>().is_err(), "{wrong}");
        }
    }
}
