//! `[console]`: how long people stay signed in, and a proxy that says who they are.

use std::{net::IpAddr, time::Duration};

use http::HeaderName;
use ipnet::IpNet;

use super::{error::ConfigError, values::Values};
use crate::id::OwnerId;

/// Headers that mean something else already.
const TAKEN: [&str; 5] = ["authorization", "cookie", "host", "origin", "connection"];

/// The `[console]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleSection {
    /// How long a session lasts without a look at any page.
    pub idle: Duration,
    /// How long it lasts in all.
    pub whole: Duration,
    /// The proxy that says who people are, where there is one.
    pub proxy: Option<ProxySection>,
}

/// A reverse proxy that authenticates people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySection {
    /// Where it connects from. A header that anybody else sends says nothing.
    pub addresses: Vec<IpNet>,
    /// What it names the person in.
    pub header: HeaderName,
    /// The people who see everything; everybody else sees what is theirs as an owner of that name.
    pub operators: Vec<OwnerId>,
}

impl ConsoleSection {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        let idle = values.number("console.idle_minutes", 1..=1440)?;
        let whole = values.number("console.session_hours", 1..=168)?;
        Ok(Self {
            idle: Duration::from_secs(u64::from(idle) * 60),
            whole: Duration::from_secs(u64::from(whole) * 60 * 60),
            proxy: ProxySection::read(values)?,
        })
    }
}

impl ProxySection {
    fn read(values: &Values) -> Result<Option<Self>, ConfigError> {
        const ADDRESSES: &str = "addresses or networks, such as \"10.0.0.7\" or \"10.244.0.0/16\"";
        const HEADER: &str =
            "the name of a header that the proxy sets and never passes on, such as x-forwarded-user";
        const OPERATORS: &str = "names as the proxy gives them, such as \"ops@example.com\"";
        let network = |text: &String| {
            let net = text.parse::<IpNet>();
            net.or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .map_err(|_| values.wrong("console.proxy_addresses", ADDRESSES))
        };
        let addresses: Vec<IpNet> = values
            .list("console.proxy_addresses")?
            .iter()
            .map(network)
            .collect::<Result<_, _>>()?;
        let operator = |text: &String| {
            text.parse()
                .map_err(|_| values.wrong("console.operators", OPERATORS))
        };
        let operators: Vec<OwnerId> = values
            .list("console.operators")?
            .iter()
            .map(operator)
            .collect::<Result<_, _>>()?;
        let header: Option<HeaderName> = values.parsed("console.proxy_header", HEADER)?;
        if header.as_ref().is_some_and(|name| TAKEN.contains(&name.as_str())) {
            return Err(values.wrong("console.proxy_header", HEADER));
        }
        match header {
            Some(header) if !addresses.is_empty() => Ok(Some(Self {
                addresses,
                header,
                operators,
            })),
            Some(_) => Err(lacking(values, "console.proxy_header", "console.proxy_addresses")),
            None if !addresses.is_empty() => {
                Err(lacking(values, "console.proxy_addresses", "console.proxy_header"))
            }
            None if !operators.is_empty() => {
                Err(lacking(values, "console.operators", "console.proxy_header"))
            }
            None => Ok(None),
        }
    }
}

fn lacking(values: &Values, given: &str, lacking: &str) -> ConfigError {
    ConfigError::new(format!(
        "{}: it needs {lacking} as well: the two say together whom to believe",
        values.place(given)
    ))
}
