//! `[adc]`: the token endpoint for credential files, `adc.json` in each agent's directory.

use std::net::SocketAddr;

use url::Url;

use super::{
    error::ConfigError,
    schema::{Key, Kind, Section, Unset},
    urls,
    values::Values,
};
use crate::address::is_loopback;

/// The path of the token endpoint.
const ENDPOINT: &str = "sts/v1/token";

/// The keys of `[adc]`.
pub(super) const SECTION: Section = Section {
    name: "adc",
    about: "The token endpoint for credential files, `adc.json` in each agent's directory",
    keys: &[
        Key {
            path: "adc.listen",
            kind: Kind::Address,
            unset: Unset::Nothing("127.0.0.1:8421"),
            doc: "Where agents' Google libraries get tokens that read `adc.json`, which is written into each agent's\n\
             directory once this is set. Each agent has a secret of its own in that file.",
            ..Key::USUAL
        },
        Key {
            path: "adc.url",
            kind: Kind::Url,
            unset: Unset::Nothing("http://127.0.0.1:8421"),
            doc: "How agents reach it, where that is another address than adc.listen: from containers, say.",
            ..Key::USUAL
        },
    ],
};

/// The `[adc]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdcSection {
    /// Where the token endpoint is served.
    pub listen: SocketAddr,
    url: Option<Url>,
}

impl AdcSection {
    /// `None` where nothing is to be served.
    pub(super) fn read(values: &Values) -> Result<Option<Self>, ConfigError> {
        match (values.address("adc.listen")?, values.url("adc.url")?) {
            (Some(listen), url) => Ok(Some(Self { listen, url })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(ConfigError::new(format!(
                "{} says how agents reach an endpoint that is not served: set adc.listen as well",
                values.place("adc.url")
            ))),
        }
    }

    /// The token endpoint as agents reach it.
    pub fn token_url(&self) -> Result<Url, ConfigError> {
        let base = match &self.url {
            Some(url) => url.clone(),
            None => urls::local("adc.listen", self.listen)?,
        };
        Ok(urls::below(&base, ENDPOINT))
    }

    /// What deserves attention.
    pub(super) fn warning(&self) -> Option<String> {
        let encrypted = self.url.as_ref().is_some_and(|url| url.scheme() == "https");
        (!is_loopback(self.listen.ip()) && !encrypted).then(|| {
            format!(
                "adc.listen {} may be reachable from other machines, and secrets and tokens travel unencrypted: \
                 bind the address of the containers' bridge, or put TLS in front and set adc.url to its https \
                 address",
                self.listen
            )
        })
    }
}
