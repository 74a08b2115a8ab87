//! What pages read of the audit trail.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use jiff::Timestamp;

use super::{asked::Asked, chart::Chart, notice::Notice, refusal::Refusal};
use crate::{
    broker::Broker, budget::Refusals, clock, id::OwnerId, session::Viewer, store::StoreError,
    store::TrailReport,
};

const HOUR: Duration = Duration::from_secs(3600);
/// Hours in the chart.
const HOURS: u32 = 24;

/// Reads the trail.
#[derive(Clone)]
pub(super) struct Trail {
    broker: Arc<Broker>,
    /// Pages that could not be shown.
    unreadable: Refusals,
}

/// What a verification of the chain found, in words.
pub(super) struct Chain {
    pub(super) whole: bool,
    pub(super) words: String,
}

impl From<TrailReport> for Chain {
    fn from(report: TrailReport) -> Self {
        let lines = match report.lines {
            1 => "1 line".to_owned(),
            n => format!("{n} lines"),
        };
        match report.problem {
            None => Self {
                whole: true,
                words: format!("All {lines} follow from each other: nothing was changed or taken out."),
            },
            Some(problem) => Self {
                whole: false,
                words: format!("Somebody changed this record outside token-broker: {problem}."),
            },
        }
    }
}

/// Whether the operator wants the chain verified now. It is read from end to end for that, so not everybody may ask for
/// it.
pub(super) fn verifies(asked: &Asked) -> bool {
    asked.session.admission.viewer == Viewer::Operator && asked.query.get("verify") == "1"
}

impl Trail {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        Self {
            broker,
            unreadable: Refusals::new("pages of the console could not read the database"),
        }
    }

    /// The renewals of the last day, of this owner or of all.
    pub(super) async fn day(&self, owner: Option<&OwnerId>) -> Result<Chart, StoreError> {
        let since = last_day(self.broker.now());
        let hours = self.broker.store().renewals(owner, since, HOURS).await?;
        Ok(Chart::new(&hours))
    }

    /// Whether the chain is whole, where that was asked for.
    pub(super) async fn verified(&self, asked: &Asked) -> Result<Option<Chain>, StoreError> {
        if !verifies(asked) {
            return Ok(None);
        }
        self.broker.flush_audit().await;
        let report = self.broker.store().verify_audit(None).await?;
        Ok(Some(report.into()))
    }

    /// It cannot be read.
    pub(super) fn unreadable(&self, error: &StoreError) -> Refusal {
        self.unreadable.count(error);
        let notice = Notice::new("This cannot be shown now")
            .says("The record of what happened could not be read. Whoever runs this machine finds the reason in the log.");
        Refusal::Notice(StatusCode::SERVICE_UNAVAILABLE, Box::new(notice))
    }
}

/// When the last [`HOURS`] whole hours begin, the present one included.
fn last_day(now: Timestamp) -> Timestamp {
    let hour = i64::try_from(HOUR.as_secs()).unwrap_or(i64::MAX);
    let begun = now.as_second().rem_euclid(hour);
    let this_hour = Timestamp::from_second(now.as_second() - begun).unwrap_or(now);
    clock::before(this_hour, HOUR * (HOURS - 1))
}
