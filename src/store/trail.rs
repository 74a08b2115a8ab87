//! What people ask of the audit trail: a page of it, filtered, the renewals of the last hours, and how large it is.

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

/// How much of the disk the trail takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrailSize {
    /// What its lines take, in bytes.
    pub bytes: u64,
    /// What they may take; `None` before that was said.
    pub limit: Option<TrailLimit>,
}

/// How much of the disk the trail may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrailLimit {
    /// In bytes.
    pub bytes: u64,
    /// It is half of the volume, which is less than what was configured.
    pub of_volume: bool,
}
