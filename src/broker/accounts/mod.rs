//! Connected accounts: connecting, importing, checking, disconnecting.

pub(super) mod asks;
pub(super) mod checks;
pub(super) mod commit_grant;
pub(super) mod connect;
pub(super) mod connect_error;
pub(super) mod connect_target;
pub(super) mod connected;
pub(super) mod consents;
pub(super) mod disconnect;
pub(super) mod first_use;
pub(super) mod grant_request;
pub(super) mod health;
pub(super) mod import;
pub(super) mod list;
pub(super) mod provider_accounts;
pub(super) mod restored;
pub(super) mod revocations;
pub(super) mod security_events;
pub(super) mod service_accounts;
pub(super) mod unusable;
pub(super) mod unusable_records;
