//! `[connect]`: how people connect their accounts.

use std::time::Duration;

use url::{Origin, Url};

use super::{
    error::ConfigError,
    schema::{Key, Kind, Section, Unset},
    urls::is_plain_web,
    values::Values,
};

/// The keys of `[connect]`.
pub(super) const SECTION: Section = Section {
    name: "connect",
    about: "How people connect their accounts",
    keys: &[
        Key {
            path: "connect.return_url_origins",
            kind: Kind::List,
            unset: Unset::Default(""),
            form: "origins, such as \"https://platform.example\", without a path",
            doc: "Where a platform may send people back to after a consent, such as \"https://platform.example\".",
            ..Key::USUAL
        },
        Key {
            path: "connect.timeout_minutes",
            kind: Kind::Number {
                least: 1,
                most: 1440,
                unit: "minutes",
            },
            unset: Unset::Default("10"),
            doc: "How long a person may take over a consent, 1 to 1440 minutes.",
            ..Key::USUAL
        },
    ],
};

/// The `[connect]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectSection {
    /// Where a platform may send people back to after a consent.
    pub return_url_origins: Vec<Origin>,
    /// How long a person may take over a consent.
    pub timeout: Duration,
}

impl ConnectSection {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        let minutes: u64 = values.number("connect.timeout_minutes")?;
        let origin = |text: &str| {
            let url = Url::parse(text).ok()?;
            (is_plain_web(&url) && url.path() == "/").then(|| url.origin())
        };
        Ok(Self {
            return_url_origins: values.list_of("connect.return_url_origins", origin)?,
            timeout: Duration::from_secs(minutes * 60),
        })
    }

    /// True when people may be sent to this URL after a consent.
    pub fn allows_return_to(&self, url: &Url) -> bool {
        matches!(url.scheme(), "http" | "https") && self.return_url_origins.contains(&url.origin())
    }
}
