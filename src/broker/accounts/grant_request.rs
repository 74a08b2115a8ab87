//! A grant that is to be committed, and one that is.

use crate::{
    catalog::ScopeSet,
    id::{CapabilityKey, IntegrationId, OwnerId, ProviderId},
};

/// What a grant is to be kept for.
pub(in crate::broker) struct GrantRequest {
    pub(in crate::broker) owner: OwnerId,
    /// Whose account it is.
    pub(in crate::broker) provider: ProviderId,
    /// Which account it has to be of.
    pub(in crate::broker) expected: Expected,
    /// What the grant holds where the answer does not say (RFC 6749, section 5.1).
    pub(in crate::broker) assumed: ScopeSet,
    /// The answer tells of earlier grants as well.
    pub(in crate::broker) cumulative: bool,
    /// What was asked for.
    pub(in crate::broker) capabilities: Vec<CapabilityKey>,
}

/// A grant that is kept.
pub(in crate::broker) struct GrantCommitted {
    pub(in crate::broker) account: IntegrationId,
    /// The account's address.
    pub(in crate::broker) address: String,
    /// The address that it had until now, where that is another.
    pub(in crate::broker) renamed_from: Option<String>,
    /// It takes the place of the grant that was here.
    pub(in crate::broker) replaced: bool,
    /// Granted before, and not any more.
    pub(in crate::broker) withdrawn: Vec<CapabilityKey>,
    /// Granted now, though nobody asked for it.
    pub(in crate::broker) unasked: Vec<CapabilityKey>,
}

/// Which account the person has to choose.
pub(in crate::broker) enum Expected {
    /// Any: it is the owner's first.
    Any,
    /// The one that was connected when the consent began.
    Connected(IntegrationId),
    /// The one with this address.
    Address(String),
    /// One that is not connected.
    Another,
}
