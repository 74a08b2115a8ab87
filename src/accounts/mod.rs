//! Connected accounts: connecting, importing, checking, disconnecting.

pub(crate) mod asks;
pub(crate) mod checks;
pub(crate) mod commit_grant;
pub(crate) mod connect;
pub(crate) mod connect_end;
pub(crate) mod connect_error;
pub(crate) mod connect_target;
pub(crate) mod connected;
pub(crate) mod consents;
pub(crate) mod disconnect;
pub(crate) mod disconnect_problem;
pub(crate) mod first_use;
pub(crate) mod grant_request;
pub(crate) mod health;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod not_kept;
pub(crate) mod restored;
pub(crate) mod security_events;
pub(crate) mod service_accounts;
pub(crate) mod tables;
pub(crate) mod unusable;
pub(crate) mod unusable_records;
