//! Reads back what was written for an agent, `env` and `status.json`, as an earlier sidecar left them.

use std::borrow::Cow;

use crate::{
    agent_view::document::{Credential, Document, TokenView},
    client::environment::Environment,
    id::ProviderId,
    provider::{EnvNames, kinds::built_in},
};

/// All that the two say.
pub(crate) fn read(env: &str, status: &[u8]) -> Document<'static> {
    let env = Environment::parse(env);
    let mut credentials: Vec<Credential<'static>> = Vec::new();
    for (name, _) in env.iter() {
        let is_known = credentials.iter().any(|known| has(&known.env, name));
        if let Some((provider, names, serves_google_libraries)) = owner(name).filter(|_| !is_known) {
            credentials.push(credential(&env, provider, names, serves_google_libraries));
        }
    }
    Document {
        status: serde_json::from_slice(status).unwrap_or_default(),
        credentials,
        project_id: None,
    }
}

fn has(names: &EnvNames, name: &str) -> bool {
    names.names().any(|own| own == name)
}

/// Whose line it is: its provider, all its lines, and whether Google's libraries take its tokens.
fn owner(name: &str) -> Option<(ProviderId, EnvNames, bool)> {
    let built_in = built_in().into_iter().find(|profile| has(&profile.env, name));
    if let Some(profile) = built_in {
        return Some((profile.id, profile.env, profile.serves_google_libraries));
    }
    // Those that a configuration adds have names of one form. Their keys are not written; these stand for them.
    let prefix = ["_OAUTH_ACCESS_TOKEN", "_OAUTH_CAPABILITIES"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))?;
    let provider = prefix.to_ascii_lowercase().replace('_', "-").parse().ok()?;
    Some((provider, EnvNames::oauth(prefix), false))
}

fn credential(
    env: &Environment,
    provider: ProviderId,
    names: EnvNames,
    serves_google_libraries: bool,
) -> Credential<'static> {
    let value = |name: &str| {
        let mut lines = env
            .iter()
            .filter(|(line, value)| *line == name && !value.is_empty());
        lines.next().map(|(_, value)| value)
    };
    // A token whose end nobody knows is none.
    let expires_at = value(&names.expires_at).and_then(|time| time.parse().ok());
    let token = value(&names.access_token).zip(expires_at);
    let keys = names.capabilities.name().and_then(value).unwrap_or_default();
    Credential {
        provider,
        serves_google_libraries,
        account: names.account.as_deref().and_then(value).map(Into::into),
        capabilities: keys.split(',').filter_map(|key| key.parse().ok()).collect(),
        token: token.map(|(token, expires_at)| TokenView {
            access_token: Cow::Owned(token.into()),
            expires_at,
            expires_in: 0,
            scope: None,
        }),
        env: Cow::Owned(names),
    }
}

#[cfg(test)]
mod tests;
