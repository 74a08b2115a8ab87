//! What is sent and what comes back.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::error::TransportError;
use crate::clock::{Moment, Uptime};

/// Whether a request may reach its server twice (RFC 9110, section 9.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It may: once it was done, doing it again comes to the same. Where a connection ends before any of the answer came, it
    /// is sent once more.
    Harmless,
    /// It must not: what it carries may be used up by the first. It goes on a connection of its own, because a kept one may
    /// be dead without this end knowing.
    Never,
}

/// A form, wiped when it was sent.
pub(crate) struct Form(Zeroizing<String>);

impl Form {
    /// Encodes the fields.
    pub(crate) fn new(fields: &[(&str, &str)]) -> Self {
        // Room for every byte to be escaped: growing would leave copies of secrets behind.
        let room = fields
            .iter()
            .map(|(name, value)| 3 * (name.len() + value.len()) + 2)
            .sum();
        let mut form = form_urlencoded::Serializer::new(String::with_capacity(room));
        Self(Zeroizing::new(form.extend_pairs(fields).finish()))
    }

    /// The form as it is sent.
    pub(super) fn into_text(self) -> Zeroizing<String> {
        self.0
    }
}

/// An answer, as far as it came. No `Debug`: it holds secrets.
pub(crate) struct Reply {
    /// When its head came.
    pub(crate) heard_at: Uptime,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// As it was before it was compressed.
    pub(crate) body: Zeroizing<Vec<u8>>,
    /// Why there is no more of the body.
    pub(crate) cut: Option<TransportError>,
}

impl Reply {
    /// The answer, unless its end is missing.
    pub(super) fn whole(self) -> Result<Self, TransportError> {
        match self.cut {
            None => Ok(self),
            Some(error) => Err(error),
        }
    }

    /// The server's own time (RFC 9110, section 6.6.1), at the moment when it was heard of.
    pub(crate) fn date(&self) -> Option<Moment> {
        Some(Moment {
            uptime: self.heard_at,
            wall: http_date(self.headers.get(header::DATE)?)?,
        })
    }

    /// How long the server asks to wait (RFC 9110, section 10.2.3). A moment is taken from the server's own
    /// time where it says that, and from `now` otherwise.
    pub(crate) fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let value = self.headers.get(header::RETRY_AFTER)?;
        let wait = if let Some(seconds) = value.to_str().ok().and_then(|text| text.trim().parse().ok()) {
            Duration::from_secs(seconds)
        } else {
            let moment = http_date(value)?;
            let wait = moment.duration_since(self.date().map_or(now, |date| date.wall));
            Duration::try_from(wait).unwrap_or(Duration::ZERO)
        };
        Some(wait)
    }
}

/// Reads an HTTP date in any of its three forms (RFC 9110, section 5.6.7).
pub(crate) fn http_date(value: &HeaderValue) -> Option<Timestamp> {
    let time = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    Timestamp::try_from(time).ok()
}
