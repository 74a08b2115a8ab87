//! Under which names and below which path people reach the daemon.
//!
//! A browser that was led here by a name of somebody else's says that name (DNS rebinding): to its page, the daemon would
//! be of one origin with itself. So a request is answered only where it names the host of `public_url` (or of the redirect
//! address, where that is another), `localhost`, a loopback address, or the address that the connection came to. Which
//! port it names does not matter: a forwarded port is another one, and no name is made by it.

use std::{borrow::Cow, net::IpAddr};

use http::{
    Uri,
    request::Parts,
    uri::{Authority, PathAndQuery},
};
use hyper::StatusCode;
use url::{Host, Url};

use super::{
    host::{Unclear, named_hosts},
    tcp::LocalAddress,
};
use crate::{address::is_loopback, budget::Refusals};

/// The longest name that a refusal repeats.
const MOST_SHOWN: usize = 100;

/// How people reach the daemon.
pub(crate) struct PublicAddress {
    /// The hosts of the configured addresses.
    hosts: Vec<Host<String>>,
    /// The path of `public_url`, without a slash at its end.
    prefix: String,
    refused: Refusals,
}

/// Why a request is not for this daemon.
#[derive(Debug, PartialEq, Eq)]
enum Misdirected {
    /// It names no host.
    Nameless,
    /// It names one that cannot be read, or several.
    Unreadable,
    /// It names another host.
    Foreign(String),
}

impl PublicAddress {
    /// The address that `public_url` states. The provider sends browsers to the host of `redirect_uri`.
    pub(crate) fn new(public_url: &Url, redirect_uri: &Url) -> Self {
        let hosts = [public_url, redirect_uri].into_iter().filter_map(Url::host);
        Self {
            hosts: hosts.map(|host| without_dot(&host.to_owned())).collect(),
            prefix: public_url.path().trim_end_matches('/').to_owned(),
            refused: Refusals::new(
                "requests to http_listen name a host that public_url does not name; a proxy in front has to pass on the \
                 name that people asked for",
            ),
        }
    }

    /// Refuses a request that names another host, with a status and a sentence.
    pub(crate) fn refuse(&self, request: &Parts) -> Option<(StatusCode, Cow<'static, str>)> {
        let sentence = match self.check(request).err()? {
            Misdirected::Nameless => {
                "This request names no host (a Host header): ask for the address in public_url.\n"
            }
            Misdirected::Unreadable => "The host that this request names cannot be read.\n",
            Misdirected::Foreign(name) => {
                self.refused.count(&name);
                return Some((StatusCode::MISDIRECTED_REQUEST, misdirected(&name).into()));
            }
        };
        Some((StatusCode::BAD_REQUEST, sentence.into()))
    }

    fn check(&self, request: &Parts) -> Result<(), Misdirected> {
        let came_to = request.extensions.get::<LocalAddress>();
        let came_to = came_to.map(|address| address.0.ip().to_canonical());
        let named = named_hosts(request.version, &request.uri, &request.headers)?;
        for authority in &named {
            if !self.is_own(&host(authority)?, came_to) {
                let shown = authority.host().chars().take(MOST_SHOWN);
                return Err(Misdirected::Foreign(shown.collect()));
            }
        }
        Ok(())
    }

    fn is_own(&self, host: &Host<String>, came_to: Option<IpAddr>) -> bool {
        let address: Option<IpAddr> = match host {
            Host::Ipv4(address) => Some((*address).into()),
            Host::Ipv6(address) => Some(IpAddr::from(*address).to_canonical()),
            Host::Domain(_) => None,
        };
        let here = |address: IpAddr| is_loopback(address) || Some(address) == came_to;
        let is_localhost = matches!(host, Host::Domain(name) if name == "localhost");
        is_localhost || address.is_some_and(here) || self.hosts.contains(host)
    }

    /// The same request to the path without the prefix, where whatever is in front has left it on.
    pub(crate) fn strip(&self, uri: &Uri) -> Option<Uri> {
        let rest = uri.path_and_query()?.as_str().strip_prefix(&self.prefix)?;
        if self.prefix.is_empty() || !(rest.is_empty() || rest.starts_with(['/', '?'])) {
            return None;
        }
        let rest = if rest.starts_with('/') {
            rest.to_owned()
        } else {
            format!("/{rest}")
        };
        PathAndQuery::try_from(rest).map(Uri::from).ok()
    }
}

impl From<Unclear> for Misdirected {
    fn from(unclear: Unclear) -> Self {
        match unclear {
            Unclear::None => Self::Nameless,
            Unclear::Several | Unclear::Unreadable => Self::Unreadable,
        }
    }
}

/// The host of an authority, as browsers write it.
fn host(authority: &Authority) -> Result<Host<String>, Misdirected> {
    match Host::parse(authority.host()) {
        Ok(host) => Ok(without_dot(&host)),
        Err(_) => Err(Misdirected::Unreadable),
    }
}

/// A name is the same with the root's dot.
fn without_dot(host: &Host<String>) -> Host<String> {
    match host {
        Host::Domain(name) => Host::Domain(name.strip_suffix('.').unwrap_or(name).to_owned()),
        address => address.clone(),
    }
}

fn misdirected(name: &str) -> String {
    format!(
        "This request names the host {name}, which is not this daemon's. Open the page by the address that public_url \
         states.\n\nFor whoever runs this machine: if people are to reach the daemon by this name, set public_url to that \
         address. If a reverse proxy named it, let the proxy pass on the name that people asked for (nginx: \
         proxy_set_header Host $host; Apache: ProxyPreserveHost On).\n"
    )
}

#[cfg(test)]
mod tests {
    use http::{Request, Version, header};

    use super::*;

    fn address() -> PublicAddress {
        let url = |text: &str| Url::parse(text).unwrap();
        PublicAddress::new(
            &url("https://Broker.example:8443/tokens/"),
            &url("https://login.example/oauth/callback"),
        )
    }

    fn asked(target: &str, hosts: &[&str]) -> Parts {
        let mut request = Request::get(target);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let came_to = LocalAddress("10.0.0.7:8420".parse().unwrap());
        request.extension(came_to).body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_configured_names_and_this_machine_are_answered() {
        for host in [
            "broker.example",
            "BROKER.example:8443",
            "broker.example.:1",
            "login.example",
            "localhost:9000",
            "127.0.0.1:8420",
            "127.9.9.9",
            "[::1]:8420",
            "[::ffff:127.0.0.1]",
            "10.0.0.7:8420",
        ] {
            assert_eq!(address().check(&asked("/", &[host])), Ok(()), "{host}");
            let absolute = format!("http://{host}/");
            assert_eq!(address().check(&asked(&absolute, &[host])), Ok(()), "{absolute}");
        }
    }

    #[test]
    fn names_of_others_are_refused_wherever_they_are_named() {
        for name in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evil.localhost",
            "xbroker.example",
            "10.0.0.8",
            "0.0.0.0",
            "[::]",
        ] {
            let foreign = Err(Misdirected::Foreign(name.to_owned()));
            assert_eq!(address().check(&asked("/", &[name])), foreign, "{name}");
            let absolute = format!("http://{name}/console/");
            assert_eq!(
                address().check(&asked(&absolute, &["localhost"])),
                foreign,
                "{name}"
            );
            assert_eq!(
                address().check(&asked("http://localhost/", &[name])),
                foreign,
                "{name}"
            );
        }
    }

    #[test]
    fn what_names_nothing_or_too_much_is_refused() {
        let check = |target: &str, hosts: &[&str]| address().check(&asked(target, hosts));
        assert_eq!(check("/", &[]), Err(Misdirected::Nameless));
        assert_eq!(
            check("/", &["localhost", "localhost"]),
            Err(Misdirected::Unreadable)
        );
        for host in [
            "",
            "evil.example@localhost",
            "localhost/x",
            "a b",
            "[::1",
            "[fe80::1%25lo]",
        ] {
            assert_eq!(check("/", &[host]), Err(Misdirected::Unreadable), "{host:?}");
        }
        let mut old = asked("/", &[]);
        old.version = Version::HTTP_10;
        assert_eq!(address().check(&old), Err(Misdirected::Nameless));
        let mut old = asked("http://broker.example/", &[]);
        old.version = Version::HTTP_10;
        assert_eq!(address().check(&old), Ok(()), "HTTP/1.0 has no Host of its own");
    }

    #[test]
    fn the_prefix_may_be_left_on() {
        let strip = |target: &str| {
            let uri: Uri = target.parse().unwrap();
            address().strip(&uri).map(|uri| uri.to_string())
        };
        assert_eq!(strip("/tokens/console/?a=1").as_deref(), Some("/console/?a=1"));
        assert_eq!(strip("/tokens").as_deref(), Some("/"));
        assert_eq!(strip("/tokens?a=1").as_deref(), Some("/?a=1"));
        assert_eq!(
            strip("http://broker.example/tokens/help").as_deref(),
            Some("/help")
        );
        assert_eq!(strip("/tokensmith/"), None);
        assert_eq!(strip("/console/"), None);
    }
}
