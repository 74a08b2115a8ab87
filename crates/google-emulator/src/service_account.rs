//! Service accounts: their keys, their key files, and what they may do for people.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use crate::{
    core::Core,
    keys::{KeyError, RsaKey},
    options::Account,
    state::ServiceKey,
};

/// Makes a service account with a key of its own; returns its key file, as Google's console gives it.
pub(crate) fn create(core: &Core, name: &str) -> Result<Value, KeyError> {
    let (key, pem) = RsaKey::generate()?;
    let email = format!("{name}@{}.iam.gserviceaccount.com", core.project_id);
    let identity = Account::new(&email);
    let file = json!({
        "type": "service_account",
        "project_id": core.project_id,
        "private_key_id": key.id,
        "private_key": pem,
        "client_email": email,
        "client_id": identity.sub,
        "auth_uri": core.url("/o/oauth2/v2/auth"),
        "token_uri": core.url("/token"),
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
        "universe_domain": "googleapis.com",
    });
    let service = ServiceKey {
        verifying: key.verifying()?,
        id: key.id,
        delegated: BTreeSet::new(),
    };
    core.state().add_account(identity, Some(Arc::new(service)));
    Ok(file)
}

/// Lets a service account act for people, with these scopes (domain-wide delegation).
pub(crate) fn delegate(core: &Core, email: &str, scopes: &[&str]) -> bool {
    let mut state = core.state();
    let Some(account) = state.find(email) else {
        return false;
    };
    let Some(service) = state.account_mut(account).service.as_mut() else {
        return false;
    };
    Arc::make_mut(service)
        .delegated
        .extend(scopes.iter().map(|name| (*name).to_owned()));
    true
}
