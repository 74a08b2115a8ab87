//! The way out of this machine: straight, or through the HTTP proxy that the environment names.

use std::{
    error::Error,
    fmt, io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::{
        legacy::connect::{HttpConnector, proxy::Tunnel},
        proxy::matcher::{Intercept, Matcher},
    },
    rt::TokioIo,
};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower::{Service, ServiceExt};

use crate::{
    address::is_loopback,
    http_client::{
        authorities::{self, Authorities},
        error::{NoRoots, ProxyCredentials, innermost},
    },
};

/// Which servers are reached through a proxy, and which authorities vouch for them. The default is no proxy, and this
/// system's authorities.
#[derive(Clone, Default)]
pub struct Egress {
    proxy: Option<Arc<Proxy>>,
    authorities: Authorities,
}

struct Proxy {
    matcher: Matcher,
    /// Its address, and apart from that the name and password that it wants (RFC 9110, section 11.7.2).
    found: Intercept,
    /// Where the address was found.
    variable: &'static str,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.found.uri().authority();
        let authority = authority.map_or("", |authority| authority.as_str());
        write!(f, "the proxy {authority} ({})", self.variable)
    }
}

/// The environment names a proxy that cannot be used. Does not repeat the address, which may hold a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} names no HTTP proxy: give it as http://HOST:PORT, or as http://NAME:PASSWORD@HOST:PORT")]
pub struct InvalidProxy {
    variable: &'static str,
}

/// Those that name a proxy for `https` addresses, the first that is set.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const EXCEPTION_VARIABLES: [&str; 2] = ["NO_PROXY", "no_proxy"];

impl Egress {
    /// As the environment says in the variables that `curl` reads as well: a proxy for `https` addresses, the hosts that are
    /// reached without it, and where authorities are. This machine itself is never asked for through a proxy.
    ///
    /// # Errors
    /// A proxy of another kind, or something that is no address.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, InvalidProxy> {
        let first = |names: &[&'static str]| {
            let mut set = names.iter().filter_map(|name| Some((*name, variable(name)?)));
            set.find(|(_, value)| !value.trim().is_empty())
        };
        let authorities = Authorities::from_environment(&variable);
        let Some((variable, address)) = first(&PROXY_VARIABLES) else {
            return Ok(Self::trusting(authorities));
        };
        let except = first(&EXCEPTION_VARIABLES)
            .map(|(_, hosts)| hosts)
            .unwrap_or_default();
        let every = Matcher::builder().https(address.trim()).build();
        // What is never reached says which proxy it is.
        let found = every.intercept(&Uri::from_static("https://proxy.invalid/"));
        let usable = found.filter(|proxy| proxy.uri().scheme() == Some(&Scheme::HTTP));
        let proxy = Proxy {
            matcher: Matcher::builder().https(address.trim()).no(except).build(),
            found: usable.ok_or(InvalidProxy { variable })?,
            variable,
        };
        Ok(Self {
            proxy: Some(Arc::new(proxy)),
            authorities,
        })
    }

    /// Without a proxy, where these vouch for servers.
    pub(crate) fn trusting(authorities: Authorities) -> Self {
        Self {
            proxy: None,
            authorities,
        }
    }

    /// The same way, where these vouch for servers.
    pub(crate) fn vouched_for_by(self, authorities: Authorities) -> Self {
        Self { authorities, ..self }
    }

    /// Who vouches for servers.
    pub(crate) fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// The proxy that stands before `address`, for people.
    pub fn proxy_before(&self, address: &str) -> Option<String> {
        self.before(&address.parse().ok()?).map(ToString::to_string)
    }

    fn before(&self, address: &Uri) -> Option<&Arc<Proxy>> {
        let proxy = self.proxy.as_ref()?;
        let outside = !is_this_machine(address.host()?);
        (outside && proxy.matcher.intercept(address).is_some()).then_some(proxy)
    }
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| is_loopback(ip))
}

/// Connects over TCP, and for `https` over TLS.
#[derive(Clone)]
pub(crate) struct Connector(Tcp);

impl Connector {
    /// Gives a TCP connection up that does not stand within `limit`.
    pub(crate) fn new(egress: Egress, limit: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(limit));
        Self(Tcp { tcp, egress })
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<Connection>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let tcp = self.0.clone();
        Box::pin(async move {
            let tls = if address.scheme() == Some(&Scheme::HTTPS) {
                let trusted = tcp.egress.authorities.current().await;
                let trusted = trusted.map_err(|reason| io::Error::other(NoRoots(reason)))?;
                ClientConfig::clone(&trusted)
            } else {
                // Reading the machine's certificates would be of no use or, in an empty container, fail.
                authorities::nobody()?
            };
            let https = HttpsConnectorBuilder::new()
                .with_tls_config(tls)
                .https_or_http()
                .enable_http1()
                .enable_http2()
                .wrap_connector(tcp);
            https.oneshot(address).await.map_err(io::Error::other)
        })
    }
}

/// Connects over TCP.
#[derive(Clone)]
struct Tcp {
    tcp: HttpConnector,
    egress: Egress,
}

type Connection = TokioIo<TcpStream>;

impl Service<Uri> for Tcp {
    type Response = Connection;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Connection>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_ready(context).map_err(io::Error::other)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let mut tcp = self.tcp.clone();
        let Some(proxy) = self.egress.before(&address).cloned() else {
            return Box::pin(async move { tcp.call(address).await.map_err(io::Error::other) });
        };
        let mut tunnel = Tunnel::new(proxy.found.uri().clone(), tcp);
        if let Some(authorization) = proxy.found.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        Box::pin(async move {
            let opened = tunnel.call(address.clone()).await;
            opened.map_err(|error| no_tunnel(&proxy, &address, &error))
        })
    }
}

/// One sentence, so that whoever looks for the cause at the bottom finds the proxy's name in it.
fn no_tunnel(proxy: &Proxy, address: &Uri, error: &(dyn Error + 'static)) -> io::Error {
    if error.source().is_some() {
        return io::Error::other(format!("{proxy} cannot be reached: {}", innermost(error)));
    }
    let said = error.to_string();
    // The library's words for status 407.
    if said.contains("proxy authorization required") {
        return io::Error::other(ProxyCredentials(match proxy.found.basic_auth() {
            Some(_) => format!(
                "{proxy} does not take the name and password that {} gives",
                proxy.variable
            ),
            None => format!(
                "{proxy} wants a name and a password, and {} gives none",
                proxy.variable
            ),
        }));
    }
    io::Error::other(format!(
        "{proxy} opens no way to {}: {said}; it may not allow that address",
        address.host().unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests;
