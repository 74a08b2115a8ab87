//! What an agent may see, as data: the document of `/v1/view`. `env`, `access_token` and `status.json` are written from it.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    clock,
    id::{CapabilityKey, ProviderId},
    provider::EnvNames,
    secret::AccessToken,
};

/// All that an agent may see at one moment. It borrows from the broker, or is another machine's word and owns what it says.
/// No `Debug`: it holds tokens.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Document<'a> {
    pub(crate) status: Status<'a>,
    /// What it has of each provider that it declares something of; the first is the main one.
    pub(crate) credentials: Vec<Credential<'a>>,
    /// The project that the metadata protocol tells of, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) project_id: Option<Cow<'a, str>>,
}

/// The document of `/v1/status`, which is also `status.json`. It holds no secret, and nothing that changes with each renewal.
/// States are words here: one that this version does not know is told as it came.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Status<'a> {
    pub(crate) agent: Cow<'a, str>,
    pub(crate) owner: Cow<'a, str>,
    pub(crate) state: Cow<'a, str>,
    pub(crate) message: Cow<'a, str>,
    pub(crate) action_url: Option<Cow<'a, str>>,
    pub(crate) account: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_account: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) accounts: BTreeMap<ProviderId, Cow<'a, str>>,
    pub(crate) capabilities: Vec<Capability<'a>>,
}

/// A declared capability, with the description from the manifest.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Capability<'a> {
    pub(crate) key: CapabilityKey,
    pub(crate) state: Cow<'a, str>,
    pub(crate) granted: bool,
    pub(crate) optional: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) satisfied_by: Option<CapabilityKey>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub(crate) description: Cow<'a, str>,
}

/// What an agent has of one provider's account.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Credential<'a> {
    pub(crate) provider: ProviderId,
    /// The lines of `env` that are its own.
    pub(crate) env: Cow<'a, EnvNames>,
    /// Google's own libraries take its tokens.
    pub(crate) serves_google_libraries: bool,
    /// The account's address.
    pub(crate) account: Option<Arc<str>>,
    /// What the token serves, in the manifest's order.
    pub(crate) capabilities: Arc<[CapabilityKey]>,
    pub(crate) token: Option<TokenView<'a>>,
}

/// A token that may be shown.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct TokenView<'a> {
    #[serde(with = "exposed")]
    pub(crate) access_token: Cow<'a, AccessToken>,
    /// When it ends, by the clock of the machine that says so.
    #[serde(serialize_with = "whole_seconds")]
    pub(crate) expires_at: Timestamp,
    /// In how many seconds, when that was said: a reader with another clock knows by the two what that one showed.
    pub(crate) expires_in: u64,
    /// What it carries, where that is known.
    pub(crate) scope: Option<Cow<'a, str>>,
}

impl<'a> Document<'a> {
    /// Each token that may be shown.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = &TokenView<'a>> {
        let credentials = self.credentials.iter();
        credentials.filter_map(|credential| credential.token.as_ref())
    }

    /// The same, to be changed.
    pub(crate) fn tokens_mut(&mut self) -> impl Iterator<Item = &mut TokenView<'a>> {
        let credentials = self.credentials.iter_mut();
        credentials.filter_map(|credential| credential.token.as_mut())
    }

    /// Tells when tokens end by a clock that is ahead of the one by which it was told.
    pub(crate) fn move_ends(&mut self, by: SignedDuration) {
        for token in self.tokens_mut() {
            token.expires_at = token.expires_at.checked_add(by).unwrap_or(token.expires_at);
        }
    }
}

impl Credential<'_> {
    /// Takes away what the agent could use.
    pub(crate) fn withhold(&mut self) {
        self.token = None;
        self.capabilities = Arc::default();
    }
}

fn whole_seconds<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&clock::rfc3339(*time))
}

/// A token in a document; nowhere else is one serialized by its type.
mod exposed {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::secret::AccessToken;

    #[expect(clippy::ptr_arg, reason = "serde hands over the field as it is")]
    pub(super) fn serialize<S: Serializer>(token: &Cow<'_, AccessToken>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(token.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Cow<'static, AccessToken>, D::Error> {
        // The type takes over the string's own memory.
        String::deserialize(from).map(|token| Cow::Owned(token.into()))
    }
}
