//! `[metadata]`: the GCE metadata protocol on a port of its own, for the one agent that has the network namespace
//! to itself.

use std::net::SocketAddr;

use super::{
    error::ConfigError,
    schema::{Key, Kind, Section, Unset},
    values::{Values, required},
};
use crate::{address::is_loopback, id::AgentName};

/// The keys of `[metadata]`.
pub(super) const SECTION: Section = Section {
    name: "metadata",
    about: "The GCE metadata protocol on a port of its own, for the one agent that has the network namespace to itself",
    keys: &[
        Key {
            path: "metadata.listen",
            kind: Kind::Address,
            unset: Unset::Nothing("127.0.0.1:8422"),
            form: "a loopback address and port, such as {example}",
            doc: "Where one agent's Google libraries find a GCE metadata server. Loopback only, and only where that\n\
             agent has the network namespace to itself: whoever reaches it gets the agent's tokens.",
            ..Key::USUAL
        },
        Key {
            path: "metadata.agent",
            unset: Unset::Nothing("invoice-bot"),
            form: "the name of an agent",
            doc: "Which agent that is.",
            ..Key::USUAL
        },
        Key {
            path: "metadata.project_id",
            unset: Unset::Default("token-broker"),
            form: "a project id: 6 to 30 lower-case letters, digits and hyphens, starting with a letter",
            doc: "The Google Cloud project that agents are told they run in; nothing is charged to it.",
            ..Key::USUAL
        },
    ],
};

/// The `[metadata]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataSection {
    /// The project that agents are told they run in.
    pub project_id: String,
    /// The port of one agent.
    pub port: Option<MetadataPort>,
}

/// A port, and whom it speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataPort {
    /// Where the protocol is served. It is a loopback address, because everybody who reaches it is taken for the agent.
    pub listen: SocketAddr,
    /// Whose tokens are served.
    pub agent: AgentName,
}

impl MetadataSection {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        let project_id = required(values, values.text("metadata.project_id")?, "metadata.project_id")?;
        if !is_project_id(&project_id) {
            return Err(values.wrong("metadata.project_id"));
        }
        Ok(Self {
            project_id,
            port: MetadataPort::read(values)?,
        })
    }
}

impl MetadataPort {
    fn read(values: &Values) -> Result<Option<Self>, ConfigError> {
        let listen = values.address("metadata.listen")?;
        if listen.is_some_and(|listen| !is_loopback(listen.ip())) {
            return Err(values.wrong_because("metadata.listen", "whoever reaches it gets the agent's tokens"));
        }
        let agent = values.parsed("metadata.agent")?;
        match (listen, agent) {
            (Some(listen), Some(agent)) => Ok(Some(Self { listen, agent })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(missing(values, "metadata.listen", "metadata.agent")),
            (None, Some(_)) => Err(missing(values, "metadata.agent", "metadata.listen")),
        }
    }
}

fn missing(values: &Values, given: &str, lacking: &str) -> ConfigError {
    ConfigError::new(format!(
        "{} needs {lacking}: the port speaks for one agent, because it cannot tell who asks",
        values.place(given)
    ))
}

/// What Google takes as the id of a project.
fn is_project_id(id: &str) -> bool {
    (6..=30).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && !id.ends_with('-')
        && id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
