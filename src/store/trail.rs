//! What people ask of the audit trail: a page of it, filtered, and the renewals of the last hours.

use jiff::Timestamp;

use crate::{
    id::{AgentName, CapabilityKey, IntegrationId, OwnerId},
    telemetry::audit::AuditLine,
};

/// Which lines are wanted: those that fit all that is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrailFilter {
    /// Only those that concern this owner. For a page that an owner sees, this is what keeps the others' lines from it.
    pub owner: Option<OwnerId>,
    /// Only those of this agent, or about it.
    pub agent: Option<AgentName>,
    /// Only those about one of these accounts; empty for any, and for none.
    pub integrations: Vec<IntegrationId>,
    /// Only those about this capability.
    pub capability: Option<CapabilityKey>,
    /// Only those by this actor, written as the trail writes it, such as `person:alice`.
    pub actor: Option<String>,
}

/// Where a page of the trail begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrailPlace {
    /// With the newest line.
    #[default]
    Newest,
    /// With the newest line before this one.
    Before(u64),
    /// With the oldest line after this one.
    After(u64),
}

/// A page of the trail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrailPage {
    /// Its lines, newest first.
    pub lines: Vec<AuditLine>,
    /// The line before which to go on towards the past; `None` where there is nothing older.
    pub older: Option<u64>,
    /// The line after which to go on towards the present; `None` where there is nothing newer.
    pub newer: Option<u64>,
    /// The looking ended before the page was full, because so many lines did not fit the filter.
    pub cut_short: bool,
}

/// The renewals of one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenewalHour {
    /// When the hour begins.
    pub from: Timestamp,
    /// Tokens that were obtained.
    pub renewed: u64,
    /// Attempts that failed.
    pub failed: u64,
}
