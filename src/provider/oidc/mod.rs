//! Any server that speaks `OpenID` Connect and tells where it is (`OpenID` Connect Discovery 1.0).

mod client;
mod discovery;
pub(crate) mod failure_table;
mod settings;

use std::sync::Arc;

use super::{
    context::ProviderContext,
    profile::{AccountField, EnvNames, Origin, Profile},
    registry::{Provider, TokenSource},
    sentences,
};
use crate::config::{ConfigError, ProviderEntry};

use client::Client;
use failure_table::{DECLINED, FAILURES, TOPICS};
use settings::Settings;

/// The provider of an entry of the type `oidc`. Asks nobody yet.
pub(super) fn build(entry: &ProviderEntry, context: &ProviderContext) -> Result<Provider, ConfigError> {
    let settings = Settings::read(entry)?;
    let profile = Profile {
        id: entry.id.clone(),
        name: settings.name.clone(),
        account: format!("account at {}", settings.name),
        any_account: format!("an account at {}", settings.name),
        accounts: format!("accounts at {}", settings.name),
        described: format!("`{}`", entry.id),
        account_field: AccountField::Accounts(entry.id.clone()),
        env: EnvNames::oauth(&settings.env_prefix),
        declined: sentences::naming(&settings.name, DECLINED),
        unanswered: format!(
            "If {} showed a page of its own instead, it names the reason",
            settings.name
        ),
        topics: &TOPICS,
        serves_google_libraries: false,
        origin: Origin::Consent { connections: None },
    };
    Ok(Provider {
        profile: Arc::new(profile),
        issuer_binding: format!("{}#{}", settings.issuer, settings.client_id).into(),
        servers: vec![discovery::document_of(&settings.issuer)],
        failures: FAILURES,
        tokens: TokenSource::Consent(Arc::new(Client::new(settings, context.clone()))),
    })
}
