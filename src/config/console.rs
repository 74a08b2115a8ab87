//! `[console]`: how long people stay signed in, and a proxy that says who they are.

use std::{net::IpAddr, time::Duration};

use http::HeaderName;
use ipnet::IpNet;

use super::{
    error::ConfigError,
    schema::{Key, Kind, Section, Unset},
    values::Values,
};
use crate::id::OwnerId;

/// The keys of `[console]`.
pub(super) const SECTION: Section = Section {
    name: "console",
    about: "How long people stay signed in, and a proxy that says who they are",
    keys: &[
        Key {
            path: "console.idle_minutes",
            kind: Kind::Number {
                least: 1,
                most: 1440,
                unit: "minutes",
            },
            unset: Unset::Default("30"),
            doc: "How long somebody stays signed in to the console without looking at it, 1 to 1440 minutes.",
            ..Key::USUAL
        },
        Key {
            path: "console.session_hours",
            kind: Kind::Number {
                least: 1,
                most: 168,
                unit: "hours",
            },
            unset: Unset::Default("12"),
            doc: "How long they stay signed in in all, 1 to 168 hours.",
            ..Key::USUAL
        },
        Key {
            path: "console.proxy_addresses",
            kind: Kind::List,
            unset: Unset::Default(""),
            form: "addresses or networks, such as \"10.0.0.7\" or \"10.244.0.0/16\"",
            doc: "Where a reverse proxy that authenticates people connects from (addresses or networks), so that nobody needs\n\
             a link to the console. Whoever connects from there is believed.",
            ..Key::USUAL
        },
        Key {
            path: "console.proxy_header",
            unset: Unset::Nothing("x-forwarded-user"),
            form: "the name of a header that the proxy sets and never passes on, such as {example}",
            doc: "The header in which that proxy names the person: the owner of that name. It has to remove it from what\n\
             people send.",
            ..Key::USUAL
        },
        Key {
            path: "console.operators",
            kind: Kind::List,
            unset: Unset::Default(""),
            form: "names as the proxy gives them, such as \"ops@example.com\"",
            doc: "The people among them who see every owner's accounts and agents.",
            ..Key::USUAL
        },
    ],
};

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
        let idle: u64 = values.number("console.idle_minutes")?;
        let whole: u64 = values.number("console.session_hours")?;
        Ok(Self {
            idle: Duration::from_secs(idle * 60),
            whole: Duration::from_secs(whole * 60 * 60),
            proxy: ProxySection::read(values)?,
        })
    }
}

impl ProxySection {
    fn read(values: &Values) -> Result<Option<Self>, ConfigError> {
        let network = |text: &str| {
            let network = text.parse().ok();
            network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
        };
        let addresses = values.list_of("console.proxy_addresses", network)?;
        let operators: Vec<OwnerId> = values.list_of("console.operators", |text| text.parse().ok())?;
        let header: Option<HeaderName> = values.parsed("console.proxy_header")?;
        if header.as_ref().is_some_and(|name| TAKEN.contains(&name.as_str())) {
            return Err(values.wrong("console.proxy_header"));
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
