//! Agents: adding, changing, removing; who holds them, and their secrets.

pub(super) mod authenticator;
pub(super) mod changes;
pub(super) mod files;
pub(super) mod holder_change;
pub(super) mod holder_keeper;
pub(super) mod holders;
pub(super) mod kept;
pub(super) mod list;
pub(super) mod quota;
pub(super) mod succession;
