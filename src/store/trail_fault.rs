//! What a verification of the audit trail finds.

use super::RecordFault;
use crate::{telemetry::audit::ChainFault, vault::MacError};

/// What a verification of the audit trail found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailReport {
    /// How many lines there are.
    pub lines: u64,
    /// The first thing that is wrong, and where.
    pub problem: Option<TrailFault>,
}

/// What is wrong with the audit trail. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrailFault {
    /// The record of the trail's ends is not this broker's.
    #[error(
        "where the trail begins and ends was not noted by this broker: {0}; lines may have been removed or replaced at \
         either end"
    )]
    Ends(UnconfirmedEnds),
    /// It was not this broker's once.
    #[error(
        "where the trail begins and ends had been altered when line {line} was written: lines before it may have been removed \
         or replaced"
    )]
    EndsOnce {
        /// The first line that was written when that was found.
        line: u64,
    },
    /// The lines do not follow from each other.
    #[error(transparent)]
    Chain(#[from] ChainFault),
    /// A line cannot be read. `line` says which, as its row does.
    #[error("{line} cannot be read: {reason}")]
    Unreadable {
        /// Such as `line 7`.
        line: String,
        /// Why.
        reason: RecordFault,
    },
    /// A line that stays of those that are counted is not this broker's.
    #[error("line {line}: {reason}")]
    NotOurs {
        /// Which.
        line: u64,
        /// Why.
        reason: MacError,
    },
    /// A line of those that are counted, and are not gone yet, does not follow.
    #[error("line {line} does not follow from the line before")]
    Unchained {
        /// Which.
        line: u64,
    },
    /// A count of lines cannot be used. `line` says where it stands, as its row does.
    #[error("the count at {line}: {reason}")]
    Count {
        /// Such as `line 7`.
        line: String,
        /// Why.
        reason: RecordFault,
    },
    /// Something is wrong with a run of lines that are counted.
    #[error("lines {first} to {last}, which are counted: {fault}")]
    Counted {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
        /// What it is.
        fault: CountedFault,
    },
    /// A line that was noted down once is counted by now.
    #[error(
        "line {line} is counted by now and not kept any more: compare with a head from after line {last}"
    )]
    HeadCounted {
        /// Which.
        line: u64,
        /// The last of those that are counted with it.
        last: u64,
    },
}

/// Why the ends of the trail are not known to be this broker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnconfirmedEnds {
    /// The record of them cannot be read, or its MAC does not confirm it.
    #[error(transparent)]
    Record(#[from] RecordFault),
    /// There is no record of them.
    #[error("the record of it was removed")]
    Removed,
    /// There are lines that the record does not know.
    #[error("lines lie behind the end")]
    LinesBehind,
}

/// What is wrong with a run of lines that are counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CountedFault {
    /// What is noted of it is not this broker's.
    #[error("what is noted of them is not this broker's: {0}")]
    NotOurs(MacError),
    /// It does not follow.
    #[error("they do not follow from line {line}")]
    Unchained {
        /// The line before.
        line: u64,
    },
    /// There are more or fewer than there were.
    #[error("there were {all}, and counts and lines tell of {found}: some were removed or added")]
    Number {
        /// How many there were.
        all: u64,
        /// How many there are.
        found: u64,
    },
}
