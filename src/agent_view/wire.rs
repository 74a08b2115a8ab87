//! The document of an agent's view as a broker sends it to a node.

mod read;

use std::borrow::Cow;

use super::document::{Capability, Credential, Document, Status, TokenView};
use crate::{
    proto::{self, v1, v1::view_names},
    provider::Listed,
};

/// What the broker tells of a document; revision and reader are for the sender to add.
pub(crate) fn message(document: &Document<'_>) -> v1::AgentView {
    v1::AgentView {
        revision: Vec::new(),
        uid: None,
        gid: None,
        status: Some(status(&document.status)),
        credentials: document.credentials.iter().map(credential).collect(),
        project_id: document.project_id.as_deref().unwrap_or_default().to_owned(),
    }
}

fn status(status: &Status<'_>) -> v1::ViewStatus {
    let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
    let accounts = status.accounts.iter();
    v1::ViewStatus {
        agent: status.agent.to_string(),
        owner: status.owner.to_string(),
        state: status.state.to_string(),
        message: status.message.to_string(),
        action_url: text(&status.action_url),
        account: text(&status.account),
        service_account: text(&status.service_account),
        accounts: accounts
            .map(|(provider, address)| v1::ProviderAddress {
                provider: provider.to_string(),
                address: address.to_string(),
            })
            .collect(),
        capabilities: status.capabilities.iter().map(capability).collect(),
    }
}

fn capability(capability: &Capability<'_>) -> v1::ViewCapability {
    let satisfied_by = capability.satisfied_by.as_ref();
    v1::ViewCapability {
        key: capability.key.to_string(),
        state: capability.state.to_string(),
        granted: capability.granted,
        optional: capability.optional,
        satisfied_by: satisfied_by.map(ToString::to_string).unwrap_or_default(),
        description: capability.description.to_string(),
    }
}

fn credential(credential: &Credential<'_>) -> v1::ViewCredential {
    let env = &credential.env;
    let capabilities: Vec<String> = credential.capabilities.iter().map(ToString::to_string).collect();
    v1::ViewCredential {
        provider: credential.provider.to_string(),
        env: Some(v1::ViewNames {
            access_token: env.access_token.clone(),
            expires_at: env.expires_at.clone(),
            capabilities: match &env.capabilities {
                Listed::In(name) => Some(view_names::Capabilities::InVariable(name.clone())),
                Listed::With(provider) => Some(view_names::Capabilities::WithProvider(provider.to_string())),
                Listed::Elsewhere => None,
            },
            account: env.account.clone(),
        }),
        serves_google_libraries: credential.serves_google_libraries,
        account: credential.account.as_deref().map(str::to_owned),
        capabilities,
        token: credential.token.as_ref().map(token),
    }
}

fn token(token: &TokenView<'_>) -> v1::AccessToken {
    v1::AccessToken {
        access_token: token.access_token.expose().to_owned(),
        token_type: "Bearer".to_owned(),
        expires_at: Some(proto::timestamp(token.expires_at)),
        expires_in: i64::try_from(token.expires_in).unwrap_or(i64::MAX),
        scope: token.scope.as_deref().unwrap_or_default().to_owned(),
        capabilities: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agent_view::render::json;

    fn document() -> Document<'static> {
        let document = json!({
            "status": {
                "agent": "bot", "owner": "alice", "state": "active", "message": "All is well.",
                "action_url": "https://broker.example/x", "account": "alice@example.com",
                "service_account": "robot@example.com", "accounts": { "acme": "alice@acme.example" },
                "capabilities": [
                    { "key": "google.gmail.send", "state": "granted", "granted": true, "optional": false,
                      "description": "Send order confirmations" },
                    { "key": "google.drive.readonly", "state": "satisfied", "granted": true, "optional": true,
                      "satisfied_by": "google.drive" },
                ],
            },
            "credentials": [
                {
                    "provider": "google", "serves_google_libraries": true, "account": "alice@example.com",
                    "env": { "access_token": "A", "expires_at": "B", "capabilities": { "in": "C" }, "account": null },
                    "capabilities": ["google.gmail.send"],
                    "token": { "access_token": "ya29.a", "expires_at": "2030-01-01T01:00:00Z", "expires_in": 60,
                               "scope": "one two" },
                },
                {
                    "provider": "google-sa", "serves_google_libraries": false, "account": null,
                    "env": { "access_token": "D", "expires_at": "E", "capabilities": { "with": "google" },
                             "account": "F" },
                    "capabilities": [], "token": null,
                },
            ],
            "project_id": "a-project",
        });
        Document::read(document.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn what_a_message_carries_is_the_whole_document() {
        let read = Document::from_message(message(&document())).map_err(|wrong| wrong.to_string());
        assert_eq!(&*json(&read.unwrap_or_default()), &*json(&document()));
    }

    #[test]
    fn a_message_that_no_file_can_carry_is_refused() {
        let refused = |change: fn(&mut v1::AgentView)| {
            let mut view = message(&document());
            change(&mut view);
            Document::from_message(view).err().unwrap().to_string()
        };
        let unreadable = "what this version cannot read";
        assert_eq!(refused(|view| view.status = None), unreadable);
        assert_eq!(refused(|view| view.credentials[0].env = None), unreadable);
        assert_eq!(
            refused(|view| view.credentials[0].provider = "No provider".to_owned()),
            unreadable
        );
        assert_eq!(
            refused(|view| view.credentials[0].token.as_mut().unwrap().expires_at = None),
            unreadable
        );
        let evil = refused(|view| {
            let token = view.credentials[0].token.as_mut().unwrap();
            token.access_token = "a\nEVIL=1".to_owned();
        });
        assert_eq!(
            evil,
            "what no file can carry: `credentials[0].token.access_token` holds characters that RFC 6750 does not allow"
        );
    }
}
