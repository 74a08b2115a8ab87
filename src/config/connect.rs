//! `[connect]`: how people connect their accounts.

use std::time::Duration;

use url::{Origin, Url};

use super::{error::ConfigError, urls::is_plain_web, values::Values};

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
        const ORIGINS: &str = "origins, such as \"https://platform.example\", without a path";
        let minutes = values.number("connect.timeout_minutes", 1..=1440)?;
        let origin = |text: &String| {
            let url = Url::parse(text)
                .ok()
                .filter(|url| is_plain_web(url) && url.path() == "/");
            url.map(|url| url.origin())
                .ok_or_else(|| values.wrong("connect.return_url_origins", ORIGINS))
        };
        Ok(Self {
            return_url_origins: values
                .list("connect.return_url_origins")?
                .iter()
                .map(origin)
                .collect::<Result<_, _>>()?,
            timeout: Duration::from_secs(u64::from(minutes) * 60),
        })
    }

    /// True when people may be sent to this URL after a consent.
    pub fn allows_return_to(&self, url: &Url) -> bool {
        matches!(url.scheme(), "http" | "https") && self.return_url_origins.contains(&url.origin())
    }
}
