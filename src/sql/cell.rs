//! What a database answers.

use std::str::Utf8Error;

use crate::store::RecordFault;

/// What is in a column of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Integer(i64),
    /// Not every database looks whether a text is one.
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    /// A type that no column of ours has.
    Other,
}

/// Why a column does not hold what it ought to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("Invalid type")]
    Type,
    #[error(transparent)]
    Text(#[from] Utf8Error),
}

impl<'a> Cell<'a> {
    pub(super) fn integer(self) -> Result<Option<i64>, Unfit> {
        match self {
            Self::Null => Ok(None),
            Self::Integer(number) => Ok(Some(number)),
            _ => Err(Unfit::Type),
        }
    }

    pub(super) fn text(self) -> Result<Option<&'a str>, Unfit> {
        match self {
            Self::Null => Ok(None),
            Self::Text(bytes) => Ok(Some(std::str::from_utf8(bytes)?)),
            _ => Err(Unfit::Type),
        }
    }

    pub(super) fn bytes(self) -> Result<Option<&'a [u8]>, Unfit> {
        match self {
            Self::Null => Ok(None),
            Self::Bytes(bytes) => Ok(Some(bytes)),
            _ => Err(Unfit::Type),
        }
    }
}

/// A row.
pub(crate) trait Columns {
    /// The column of this name.
    fn cell(&self, name: &str) -> Result<Cell<'_>, RecordFault>;

    /// The first column.
    fn first(&self) -> Result<Cell<'_>, RecordFault>;
}
