//! Google: accounts of people, and service accounts.

pub mod authorized_user;
pub(crate) mod client;
pub(crate) mod endpoints;
pub mod failure_table;
#[cfg(fuzzing)]
pub mod fuzz;
mod profiles;
pub mod service_account;

use std::sync::Arc;

use super::registry::{Provider, TokenSource};
use crate::{clock::SharedClock, entropy::SharedEntropy};

use failure_table::FAILURES;

pub use client::{Client, ClientOptions};
pub use endpoints::{Endpoints, InvalidBase};
pub use profiles::{account, service_account as service_accounts};

/// Google's providers: accounts of people, and service accounts.
pub fn providers(options: ClientOptions, clock: SharedClock, entropy: SharedEntropy) -> Vec<Provider> {
    let token_endpoint = options.endpoints.token.to_string();
    let servers = options.endpoints.servers();
    let binding = format!("{token_endpoint}#{}", options.client_id);
    let client = Arc::new(Client::new(options, clock, entropy));
    vec![
        Provider {
            profile: Arc::new(account()),
            issuer_binding: binding.into(),
            servers: servers.clone(),
            failures: FAILURES,
            tokens: TokenSource::Consent(client.clone()),
        },
        Provider {
            profile: Arc::new(service_accounts()),
            issuer_binding: token_endpoint.into(),
            servers,
            failures: FAILURES,
            tokens: TokenSource::Key(client),
        },
    ]
}
