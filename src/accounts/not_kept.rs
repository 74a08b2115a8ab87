//! Why an account could not be kept.

use crate::store::StoreError;

/// Why an account could not be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// Its record is another by now.
    #[error("another consent of the same owner ended at the same moment; begin again")]
    ChangedMeanwhile,
    /// The database did not take it.
    #[error(transparent)]
    Store(StoreError),
    /// It was kept, and is gone again.
    #[error("the account was disconnected meanwhile")]
    Disconnected,
    /// The work ended before its end.
    #[error("the daemon failed; see its log")]
    Interrupted,
}

impl From<StoreError> for NotKept {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::ChangedMeanwhile,
            other => Self::Store(other),
        }
    }
}
