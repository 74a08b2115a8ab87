//! What a broker sends of a document, read.

use std::{borrow::Cow, sync::Arc};

use crate::{
    agent_view::{
        document::{Capability, Credential, Document, Status, TokenView},
        plain::Unusable,
    },
    id::{CapabilityKey, ProviderId},
    proto::{self, v1, v1::view_names},
    provider::{EnvNames, Listed},
};

impl Document<'static> {
    /// Reads what [`message`](super::message) made. The message's tokens are wiped.
    ///
    /// # Errors
    /// When it is none, or when one of its fields cannot become a line of `env`.
    pub(crate) fn from_message(view: v1::AgentView) -> Result<Self, Unusable> {
        let status = view.status.ok_or(Unusable::Unreadable)?;
        let credentials: Option<Vec<_>> = view.credentials.into_iter().map(read_credential).collect();
        let document = Self {
            status: read_status(status).ok_or(Unusable::Unreadable)?,
            credentials: credentials.ok_or(Unusable::Unreadable)?,
            project_id: Some(view.project_id).filter(|id| !id.is_empty()).map(Into::into),
        };
        document.check()?;
        Ok(document)
    }
}

fn read_status(status: v1::ViewStatus) -> Option<Status<'static>> {
    let accounts = status.accounts.into_iter();
    let accounts = accounts.map(|account| Some((account.provider.parse().ok()?, account.address.into())));
    let capabilities = status.capabilities.into_iter().map(|capability| {
        Some(Capability {
            key: capability.key.parse().ok()?,
            state: capability.state.into(),
            granted: capability.granted,
            optional: capability.optional,
            satisfied_by: match &*capability.satisfied_by {
                "" => None,
                key => Some(key.parse().ok()?),
            },
            description: capability.description.into(),
        })
    });
    Some(Status {
        agent: status.agent.into(),
        owner: status.owner.into(),
        state: status.state.into(),
        message: status.message.into(),
        action_url: status.action_url.map(Into::into),
        account: status.account.map(Into::into),
        service_account: status.service_account.map(Into::into),
        accounts: accounts.collect::<Option<_>>()?,
        capabilities: capabilities.collect::<Option<_>>()?,
    })
}

fn read_credential(credential: v1::ViewCredential) -> Option<Credential<'static>> {
    let names = credential.env?;
    let capabilities = credential.capabilities.iter().map(|key| key.parse().ok());
    let capabilities: Vec<CapabilityKey> = capabilities.collect::<Option<_>>()?;
    Some(Credential {
        provider: credential.provider.parse().ok()?,
        env: Cow::Owned(EnvNames {
            access_token: names.access_token,
            expires_at: names.expires_at,
            capabilities: match names.capabilities {
                Some(view_names::Capabilities::InVariable(name)) => Listed::In(name),
                Some(view_names::Capabilities::WithProvider(provider)) => {
                    Listed::With(provider.parse::<ProviderId>().ok()?)
                }
                None => Listed::Elsewhere,
            },
            account: names.account,
        }),
        serves_google_libraries: credential.serves_google_libraries,
        account: credential.account.map(Arc::from),
        capabilities: capabilities.into(),
        token: match credential.token {
            Some(token) => Some(read_token(token)?),
            None => None,
        },
    })
}

fn read_token(mut token: v1::AccessToken) -> Option<TokenView<'static>> {
    let expires_at = proto::moment(token.expires_at.take())?;
    let scope = std::mem::take(&mut token.scope);
    Some(TokenView {
        // The type takes over the string's own memory.
        access_token: Cow::Owned(std::mem::take(&mut token.access_token).into()),
        expires_at,
        expires_in: u64::try_from(token.expires_in).ok()?,
        scope: Some(scope).filter(|scope| !scope.is_empty()).map(Into::into),
    })
}
