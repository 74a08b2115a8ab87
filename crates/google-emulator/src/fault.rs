//! Faults on demand: what goes wrong, where, for whom and how often.

use std::{
    collections::BTreeMap,
    str::FromStr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use tokio::sync::watch;

/// The part of Google that a fault is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// Every one of them.
    #[default]
    Any,
    /// `/o/oauth2/v2/auth`
    Authorize,
    /// `/token`
    Token,
    /// `/revoke`
    Revoke,
    /// `/oauth2/v3/certs`
    Certs,
    /// `/v1/userinfo`
    Userinfo,
    /// `/.well-known/openid-configuration`
    Discovery,
    /// `/.well-known/risc-configuration`
    Risc,
    /// Gmail, Calendar and Drive.
    Api,
    /// `/gmail/…`
    Gmail,
    /// `/calendar/…`
    Calendar,
    /// `/drive/…`
    Drive,
}

impl Endpoint {
    /// Whether a fault on `self` concerns a request to `target`.
    fn covers(self, target: Self) -> bool {
        match self {
            Self::Any => true,
            Self::Api => target.is_api(),
            other => other == target,
        }
    }

    /// Whether it is one of the APIs, with their own shape of errors.
    pub(crate) fn is_api(self) -> bool {
        matches!(self, Self::Gmail | Self::Calendar | Self::Drive)
    }
}

/// When the connection is closed without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// It is not.
    #[default]
    Never,
    /// Before anything was done.
    Before,
    /// Within the answer, just before its end: the work was done.
    Within,
    /// After the work was done: what a client sees that crashes between the provider's answer and its own
    /// commit.
    After,
}

impl<'de> Deserialize<'de> for Cut {
    /// `true` and `"before"`, `"within"`, `"after"`, `false` and `"never"`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Text {
            Flag(bool),
            Word(String),
        }
        match Text::deserialize(deserializer)? {
            Text::Flag(true) => Ok(Self::Before),
            Text::Flag(false) => Ok(Self::Never),
            Text::Word(word) => match word.as_str() {
                "before" => Ok(Self::Before),
                "within" => Ok(Self::Within),
                "after" => Ok(Self::After),
                "never" => Ok(Self::Never),
                _ => Err(serde::de::Error::custom(
                    "`drop` is true, false, \"before\", \"within\" or \"after\"",
                )),
            },
        }
    }
}

/// Something that goes wrong on purpose. Empty fields change nothing: a fault with a `delay_ms` alone
/// answers late and otherwise as always.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fault by itself, and a field of the JSON"
)]
pub struct Fault {
    /// Which requests it is about.
    pub endpoint: Endpoint,
    /// Only token requests of this grant type, such as `refresh_token`.
    pub grant_type: Option<String>,
    /// Only requests of this account (address or `sub`); others are not touched.
    pub account: Option<String>,
    /// Only requests on a connection that has carried one before: what a load balancer does that has forgotten it.
    pub reused: bool,
    /// How many requests it strikes; all, while it is absent.
    pub times: Option<u32>,
    /// The status to answer with, instead of doing the work.
    pub status: Option<u16>,
    /// The OAuth error to answer with, instead of doing the work. At the authorization endpoint, errors
    /// that Google shows on its own page are shown there, others go back in the redirect.
    pub error: Option<String>,
    /// Its description.
    pub error_description: Option<String>,
    /// Its subtype, such as `invalid_rapt`.
    pub error_subtype: Option<String>,
    /// The body to answer with, as it is, instead of doing the work.
    pub body: Option<String>,
    /// Headers to add to the answer, such as `Retry-After`.
    pub headers: BTreeMap<String, String>,
    /// How long to wait before the work.
    pub delay_ms: u64,
    /// Waits, before the work, until the fault is cleared.
    pub hold: bool,
    /// Waits, after the work and before the answer, until the fault is cleared.
    pub hold_answer: bool,
    /// Fields to put into the answer's JSON, in place of those of the same name. The work is done.
    pub fields: Map<String, Value>,
    /// Fields to leave out of the answer's JSON.
    pub without: Vec<String>,
    /// Sends a byte order mark before the answer.
    pub bom: bool,
    /// Compresses the answer, whatever the client takes.
    pub gzip: bool,
    /// Whether to close the connection without an answer, or within it.
    #[serde(rename = "drop")]
    pub cut: Cut,
    /// How far the answer's `Date` runs ahead.
    pub skew_seconds: i64,
}

/// A fault that cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum InvalidFault {
    /// Not a final HTTP status.
    #[error("`status` is {0}; it must be a final HTTP status, 200 to 599")]
    Status(u16),
    /// Not an HTTP header.
    #[error("`headers` names `{0}`, which is not a valid HTTP header")]
    Header(String),
}

impl Fault {
    /// A fault on an endpoint that changes nothing yet: to be completed with `..`.
    pub fn on(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            ..Self::default()
        }
    }

    /// Whether an answer is given instead of doing the work.
    pub(crate) fn replaces_answer(&self) -> bool {
        self.status.is_some() || self.error.is_some() || self.body.is_some()
    }

    /// Whether fields of the answer are others.
    pub(crate) fn changes_fields(&self) -> bool {
        !self.fields.is_empty() || !self.without.is_empty()
    }

    /// The status of the replaced answer.
    pub(crate) fn status(&self) -> StatusCode {
        let by_error = || match self.error.as_deref() {
            Some("invalid_client" | "unauthorized_client") => 401,
            Some("temporarily_unavailable") | None => 503,
            Some("internal_failure" | "server_error") => 500,
            Some(_) => 400,
        };
        StatusCode::from_u16(self.status.unwrap_or_else(by_error))
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The parsed headers, which [`Fault::check`] found good.
    pub(crate) fn header_pairs(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        self.headers.iter().filter_map(|(name, value)| {
            Some((
                HeaderName::from_str(name).ok()?,
                HeaderValue::from_str(value).ok()?,
            ))
        })
    }

    fn check(&self) -> Result<(), InvalidFault> {
        if let Some(status) = self.status.filter(|status| !(200..600).contains(status)) {
            return Err(InvalidFault::Status(status));
        }
        if self.header_pairs().count() < self.headers.len() {
            let bad = self.headers.iter().find(|(name, value)| {
                HeaderName::from_str(name).is_err() || HeaderValue::from_str(value).is_err()
            });
            return Err(InvalidFault::Header(
                bad.map(|(name, _)| name.clone()).unwrap_or_default(),
            ));
        }
        Ok(())
    }
}

/// Names an ordered fault.
pub type FaultId = u64;

/// An ordered fault.
#[derive(Debug, Clone, Serialize)]
pub struct OrderedFault {
    /// Its name.
    pub id: FaultId,
    /// How many requests it has struck.
    pub hits: u64,
    /// What was ordered.
    pub fault: Fault,
}

/// What a fault needs to know of a request to tell whether it is meant.
pub(crate) struct Target<'a> {
    pub(crate) endpoint: Endpoint,
    pub(crate) grant_type: Option<&'a str>,
    /// Address and `sub`.
    pub(crate) account: Option<(&'a str, &'a str)>,
    /// The connection has carried a request before.
    pub(crate) reused: bool,
}

/// The faults in force, in the order in which they were ordered; the first that fits strikes.
pub(crate) struct Faults {
    list: Mutex<(FaultId, Vec<OrderedFault>)>,
    active: AtomicUsize,
    cleared: watch::Sender<()>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            list: Mutex::default(),
            active: AtomicUsize::new(0),
            cleared: watch::Sender::new(()),
        }
    }
}

impl Faults {
    pub(crate) fn order(&self, fault: Fault) -> Result<FaultId, InvalidFault> {
        fault.check()?;
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.0 += 1;
        let id = list.0;
        list.1.push(OrderedFault { id, hits: 0, fault });
        self.active.store(list.1.len(), Ordering::Release);
        Ok(id)
    }

    /// Takes back the faults that `which` names, and releases the requests that they hold.
    pub(crate) fn clear(&self, which: impl Fn(FaultId) -> bool) -> usize {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let before = list.1.len();
        list.1.retain(|ordered| !which(ordered.id));
        self.active.store(list.1.len(), Ordering::Release);
        let gone = before - list.1.len();
        drop(list);
        self.cleared.send_replace(());
        gone
    }

    pub(crate) fn list(&self) -> Vec<OrderedFault> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Whether there is any: most of the time there is none, and nothing has to be looked up.
    pub(crate) fn any(&self) -> bool {
        self.active.load(Ordering::Acquire) > 0
    }

    /// The fault that strikes this request, which counts as struck.
    pub(crate) fn strike(&self, target: &Target<'_>) -> Option<(FaultId, Fault)> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let ordered = list.1.iter_mut().find(|ordered| {
            let Fault {
                endpoint,
                grant_type,
                account,
                reused,
                times,
                ..
            } = &ordered.fault;
            endpoint.covers(target.endpoint)
                && (target.reused || !reused)
                && grant_type
                    .as_deref()
                    .is_none_or(|wanted| target.grant_type == Some(wanted))
                && account.as_deref().is_none_or(|wanted| {
                    target
                        .account
                        .is_some_and(|(email, sub)| email.eq_ignore_ascii_case(wanted) || sub == wanted)
                })
                && times.is_none_or(|times| ordered.hits < u64::from(times))
        })?;
        ordered.hits += 1;
        Some((ordered.id, ordered.fault.clone()))
    }

    /// Waits until the fault is taken back.
    pub(crate) async fn released(&self, id: FaultId) {
        let mut cleared = self.cleared.subscribe();
        // The sender lives as long as `self`, so the wait cannot fail.
        let _ = cleared
            .wait_for(|()| !self.list().iter().any(|ordered| ordered.id == id))
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(endpoint: Endpoint) -> Target<'static> {
        let account = Some(("alice@example.com", "1"));
        Target {
            endpoint,
            grant_type: Some("refresh_token"),
            account,
            reused: false,
        }
    }

    #[test]
    fn a_fault_strikes_whom_it_names_and_as_often_as_it_says() {
        let faults = Faults::default();
        let json =
            r#"{"endpoint":"token","grant_type":"refresh_token","account":"Alice@example.com","times":1}"#;
        faults.order(serde_json::from_str(json).unwrap()).unwrap();
        let other = Target {
            account: Some(("bob@example.com", "2")),
            ..target(Endpoint::Token)
        };
        assert!(faults.strike(&other).is_none());
        assert!(faults.strike(&target(Endpoint::Revoke)).is_none());
        let exchange = Target {
            grant_type: Some("authorization_code"),
            ..target(Endpoint::Token)
        };
        assert!(faults.strike(&exchange).is_none());
        assert!(faults.strike(&target(Endpoint::Token)).is_some());
        assert!(faults.strike(&target(Endpoint::Token)).is_none());
        assert_eq!(faults.list()[0].hits, 1);
        faults.clear(|_| true);
        assert!(!faults.any());
    }

    #[test]
    fn json_says_drop_in_every_way_that_is_documented() {
        let cut = |json: &str| serde_json::from_str::<Fault>(json).map(|fault| fault.cut);
        assert_eq!(cut(r#"{"drop":true}"#).unwrap(), Cut::Before);
        assert_eq!(cut(r#"{"drop":"after"}"#).unwrap(), Cut::After);
        assert_eq!(cut(r#"{"drop":"within"}"#).unwrap(), Cut::Within);
        assert_eq!(cut("{}").unwrap(), Cut::Never);
        assert!(cut(r#"{"drop":"later"}"#).is_err());
        assert!(serde_json::from_str::<Fault>(r#"{"sttaus":503}"#).is_err());
    }

    #[test]
    fn impossible_faults_are_refused() {
        let faults = Faults::default();
        let early = faults.order(Fault {
            status: Some(101),
            ..Fault::default()
        });
        assert_eq!(
            early.unwrap_err().to_string(),
            "`status` is 101; it must be a final HTTP status, 200 to 599"
        );
        let headers = BTreeMap::from([("a b".to_owned(), "c".to_owned())]);
        assert!(
            faults
                .order(Fault {
                    headers,
                    ..Fault::default()
                })
                .is_err()
        );
    }

    #[test]
    fn an_error_brings_its_usual_status() {
        let status = |error: &str| {
            Fault {
                error: Some(error.into()),
                ..Fault::default()
            }
            .status()
            .as_u16()
        };
        assert_eq!(status("invalid_grant"), 400);
        assert_eq!(status("invalid_client"), 401);
        assert_eq!(status("temporarily_unavailable"), 503);
    }
}
