//! What comes before the first section: the daemon's folders, and where people reach it.

use std::{net::SocketAddr, path::PathBuf};

use url::Url;

use super::{
    error::ConfigError,
    schema::{Key, Kind, Section, Unset},
    values::{Values, required},
};

/// Where sockets and agents' directories are while no configuration says otherwise.
pub const DEFAULT_RUNTIME_DIR: &str = "/run/token-broker";

/// The keys before the first section.
pub(super) const SECTION: Section = Section {
    name: "",
    about: "What comes before the first section: where the daemon keeps its files, and where people reach it",
    keys: &[
        Key {
            path: "state_dir",
            kind: Kind::Path,
            unset: Unset::Default("/var/lib/token-broker"),
            doc: "Where the encrypted database lives. Back it up together with the master key.",
            ..Key::USUAL
        },
        Key {
            path: "runtime_dir",
            kind: Kind::Path,
            unset: Unset::Default(DEFAULT_RUNTIME_DIR),
            doc: "Where the admin socket and the agents' directories are. It should be a tmpfs.",
            ..Key::USUAL
        },
        Key {
            path: "http_listen",
            kind: Kind::Address,
            unset: Unset::Default("127.0.0.1:8420"),
            doc: "Where the OAuth callback, the pages for people, /metrics, /healthz and /readyz are served.",
            ..Key::USUAL
        },
        Key {
            path: "public_url",
            kind: Kind::Url,
            unset: Unset::Derived("http://127.0.0.1:8420"),
            doc: "How a person's browser reaches http_listen, with a path where a proxy has one. Requests that name another\n\
             host are refused. Derived from http_listen unless set.",
            ..Key::USUAL
        },
    ],
};

/// What those keys say.
pub(super) struct Base {
    pub(super) state_dir: PathBuf,
    pub(super) runtime_dir: PathBuf,
    pub(super) http_listen: SocketAddr,
    /// `None` where it follows from `http_listen`.
    pub(super) public_url: Option<Url>,
}

impl Base {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        let folder = |key: &str| required(values, values.path(key)?, key);
        Ok(Self {
            http_listen: required(values, values.address("http_listen")?, "http_listen")?,
            public_url: values.url("public_url")?,
            state_dir: folder("state_dir")?,
            runtime_dir: folder("runtime_dir")?,
        })
    }
}
