//! The audit trail in a database: appended, read by pages, counted, cut and verified.

pub(crate) mod clock;
pub(crate) mod count;
pub(crate) mod ends;
pub(crate) mod keyed;
pub(crate) mod lines;
pub(crate) mod page;
pub(crate) mod prune;
pub(crate) mod row;
pub(crate) mod shown;
pub(crate) mod size;
pub(crate) mod upkeep;
pub(crate) mod verify;
pub(crate) mod week;
