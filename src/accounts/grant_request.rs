//! A grant that is to be committed, and one that is.

use crate::{
    capability::ScopeSet,
    id::{CapabilityKey, IntegrationId, OwnerId, ProviderId},
};

/// What a grant is to be kept for.
pub(crate) struct GrantRequest {
    pub(crate) owner: OwnerId,
    /// Whose account it is.
    pub(crate) provider: ProviderId,
    /// Which account it has to be of.
    pub(crate) expected: Expected,
    /// What the grant holds where the answer does not say (RFC 6749, section 5.1).
    pub(crate) assumed: ScopeSet,
    /// The answer tells of earlier grants as well.
    pub(crate) cumulative: bool,
    /// What was asked for.
    pub(crate) capabilities: Vec<CapabilityKey>,
}

/// A grant that is kept.
pub(crate) struct GrantCommitted {
    pub(crate) account: IntegrationId,
    /// The account's address.
    pub(crate) address: String,
    /// The address that it had until now, where that is another.
    pub(crate) renamed_from: Option<String>,
    /// It takes the place of the grant that was here.
    pub(crate) replaced: bool,
    /// Granted before, and not any more.
    pub(crate) withdrawn: Vec<CapabilityKey>,
    /// Granted now, though nobody asked for it.
    pub(crate) unasked: Vec<CapabilityKey>,
}

/// Which account the person has to choose.
pub(crate) enum Expected {
    /// Any: it is the owner's first.
    Any,
    /// The one that was connected when the consent began.
    Connected(IntegrationId),
    /// The one with this address.
    Address(String),
    /// One that is not connected.
    Another,
}
