//! The rules of the broker, each as scenes that fail when it is broken.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accounts;
mod agent_secrets;
mod agents;
mod announced;
mod asking;
mod audit;
mod clock;
mod connect;
mod consents;
mod crash;
mod disconnect;
mod failures;
mod folder;
mod holders;
mod import;
mod odd_answers;
mod permissions;
mod refresh;
mod renewing;
mod restart;
mod revocations;
mod service_accounts;
mod sharing;
mod slow;
mod support;
