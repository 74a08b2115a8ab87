//! Files with credentials that cannot be used. What is said of them quotes nothing that could be secret.

/// What is wrong with the file of a grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidGrantFile {
    /// In a sentence.
    pub reason: String,
    /// It belongs to another OAuth client: the file is good, but not for here.
    pub other_client: bool,
}

/// What is wrong with the file of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidKeyFile {
    /// In a sentence.
    pub reason: String,
}
