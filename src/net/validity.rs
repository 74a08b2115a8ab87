//! From when to when a certificate may be served, and what there is to say about that.

use std::time::Duration;

use jiff::Timestamp;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock::{self, SharedClock, remaining};

/// So long before a certificate's end it is told, or in the last quarter of a shorter life.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// From when to when a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    from: Timestamp,
    until: Timestamp,
}

/// Whether a certificate holds at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It holds for long enough.
    Good,
    /// It holds, and not for long.
    EndsSoon,
    /// It has ended.
    Over,
    /// It begins later.
    NotYet,
}

impl Validity {
    /// What a certificate says of itself; `None` for what is none.
    pub(crate) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        let time = |seconds| Timestamp::from_second(seconds);
        Some(Self {
            from: time(validity.not_before.timestamp()).unwrap_or(Timestamp::MIN),
            // The end that means none is the last second of the year 9999 (RFC 5280, section 4.1.2.5).
            until: time(validity.not_after.timestamp()).unwrap_or(Timestamp::MAX),
        })
    }

    /// Resolves when it has ended; never for what is no certificate.
    pub(crate) async fn over(validity: Option<Self>, clock: &SharedClock) {
        let Some(validity) = validity else {
            return std::future::pending().await;
        };
        while let Some(left) = remaining(clock.now(), validity.until) {
            clock.sleep_until(clock.uptime().after(left)).await;
        }
    }

    /// When it ends.
    pub(crate) fn until(self) -> Timestamp {
        self.until
    }

    /// Whether it holds.
    pub(crate) fn standing(self, now: Timestamp) -> Standing {
        let life = Duration::try_from(self.until.duration_since(self.from)).unwrap_or_default();
        let left = Duration::try_from(self.until.duration_since(now));
        match left {
            Err(_) => Standing::Over,
            // Its last second is part of it (RFC 5280, section 4.1.2.5).
            Ok(_) if now < self.from => Standing::NotYet,
            Ok(left) if left <= SOON.min(life / 4) => Standing::EndsSoon,
            Ok(_) => Standing::Good,
        }
    }

    /// True while clients take it.
    pub(crate) fn holds(self, now: Timestamp) -> bool {
        matches!(self.standing(now), Standing::Good | Standing::EndsSoon)
    }

    /// What there is to say of it at `now`, to be read on from what names the certificate.
    pub(crate) fn trouble(self, now: Timestamp) -> Option<String> {
        let (from, until) = (clock::rfc3339(self.from), clock::rfc3339(self.until));
        match self.standing(now) {
            Standing::Good => None,
            Standing::EndsSoon => Some(format!("ends at {until}: put a new certificate there before")),
            Standing::Over => Some(format!(
                "ended at {until}, and clients refuse it: put a new certificate there"
            )),
            Standing::NotYet => Some(format!(
                "is valid from {from} only, and clients refuse it until then: see whether this machine's clock is right"
            )),
        }
    }

    /// The same for what a client shows.
    pub(crate) fn trouble_of_client(self, now: Timestamp) -> Option<String> {
        let (from, until) = (clock::rfc3339(self.from), clock::rfc3339(self.until));
        match self.standing(now) {
            Standing::Good => None,
            Standing::EndsSoon => Some(format!("ends at {until}: get the next one before")),
            Standing::Over => Some(format!("ended at {until}: get the next one")),
            Standing::NotYet => Some(format!("is valid from {from} only")),
        }
    }

    /// The same for an authority of clients' certificates.
    pub(crate) fn trouble_of_authority(self, now: Timestamp) -> Option<String> {
        let (from, until) = (clock::rfc3339(self.from), clock::rfc3339(self.until));
        match self.standing(now) {
            Standing::Good => None,
            Standing::EndsSoon => Some(format!(
                "holds an authority that ends at {until}: put the next one there before, beside it"
            )),
            Standing::Over => Some(format!(
                "holds an authority that ended at {until}, and no client of it is let in: put the next one there"
            )),
            Standing::NotYet => Some(format!(
                "holds an authority that is valid from {from} only, and no client of it is let in until then: see whether this \
                 machine's clock is right"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_before_it_comes() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let quarter = Validity {
            from: at("2026-01-01T00:00:00Z"),
            until: at("2026-04-01T00:00:00Z"),
        };
        for (now, standing) in [
            ("2025-12-31T23:59:59Z", Standing::NotYet),
            ("2026-01-01T00:00:00Z", Standing::Good),
            ("2026-03-17T23:59:59Z", Standing::Good),
            ("2026-03-18T00:00:00Z", Standing::EndsSoon),
            ("2026-04-01T00:00:00Z", Standing::EndsSoon),
            ("2026-04-01T00:00:01Z", Standing::Over),
        ] {
            assert_eq!(quarter.standing(at(now)), standing, "{now}");
            let is_told = quarter.trouble(at(now)).is_some();
            assert_eq!(is_told, standing != Standing::Good, "{now}");
        }
        let day = Validity {
            until: at("2026-01-02T00:00:00Z"),
            ..quarter
        };
        assert_eq!(day.standing(at("2026-01-01T17:59:59Z")), Standing::Good);
        assert_eq!(day.standing(at("2026-01-01T18:00:00Z")), Standing::EndsSoon);
    }

    #[test]
    fn a_certificate_without_an_end_holds() {
        let mut params = rcgen::CertificateParams::new(vec!["broker".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(9999, 12, 31);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let validity = Validity::of(certificate.der()).unwrap();
        assert_eq!(
            validity.standing("2026-01-01T00:00:00Z".parse().unwrap()),
            Standing::Good
        );
    }

    #[test]
    fn what_is_no_certificate_says_nothing() {
        assert_eq!(Validity::of(b"nothing"), None);
    }
}
