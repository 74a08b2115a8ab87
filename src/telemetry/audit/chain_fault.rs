//! What can be wrong with a chain of lines.

/// The first thing that is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// A line lies behind the last one.
    #[error("line {line} was inserted: the trail ends at line {end}")]
    BehindEnd {
        /// Which.
        line: u64,
        /// The last one.
        end: u64,
    },
    /// A line is there twice, or between two that follow each other.
    #[error("line {line} was inserted: line {next} comes next")]
    Inserted {
        /// Which.
        line: u64,
        /// The one that was expected.
        next: u64,
    },
    /// Lines are not there.
    #[error("{}", missing(*.first, *.last))]
    Missing {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// A line says something else than its hash was made of.
    #[error("line {line} does not match its hash: it was edited, or line {} was, hash included", .line.saturating_sub(1))]
    Edited {
        /// Which.
        line: u64,
    },
    /// The last line is another one.
    #[error("line {line} is not the one that was written last: it was replaced")]
    Replaced {
        /// Which.
        line: u64,
    },
    /// A line that was noted down once is another one.
    #[error(
        "line {line} is another one than was there once: the trail was written anew, or an older copy of the database took \
         its place"
    )]
    OtherHead {
        /// Which.
        line: u64,
    },
    /// A line that was noted down once is not there yet.
    #[error(
        "the trail ends at line {end}, and line {line} was there once: an older copy of the database took its place"
    )]
    EndsBeforeHead {
        /// The last line.
        end: u64,
        /// The one that was there.
        line: u64,
    },
    /// A line that was noted down once was pruned.
    #[error(
        "line {line} is not kept any more: the trail begins at line {first}; compare with a head from after that"
    )]
    HeadPruned {
        /// Which.
        line: u64,
        /// The first that is kept.
        first: u64,
    },
}

fn missing(first: u64, last: u64) -> String {
    if first == last {
        format!("line {first} is missing: it was removed")
    } else {
        format!("lines {first} to {last} are missing: they were removed")
    }
}
