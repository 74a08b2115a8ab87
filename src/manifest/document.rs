//! An agent's manifest.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use crate::{
    capability::Catalog,
    id::{AgentName, CapabilityKey, CertificateName, IntegrationId, OwnerId, ProviderId},
    provider::AccountField,
    text,
};

/// A manifest is at most this many bytes long.
pub const MAX_BYTES: usize = 64 * 1024;
const MAX_REQUIREMENTS: usize = 64;
const MAX_NODES: usize = 64;
const MAX_DESCRIPTION: usize = 500;
/// RFC 5321, section 4.5.3.1.3, without the angle brackets.
const MAX_ADDRESS: usize = 254;
/// Of Kubernetes' names that are DNS subdomains (RFC 1123).
const MAX_SUBDOMAIN: usize = 253;

/// What an agent declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name.
    pub agent: AgentName,
    /// Whose account it uses.
    pub owner: OwnerId,
    /// Which of the owner's Google accounts, by its address. Needed where the owner has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Box<str>>,
    /// Which of the owner's service accounts, by its address. Needed where the owner has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<Box<str>>,
    /// Which of the owner's accounts at other providers, by its address, under the provider's key. Needed where the owner
    /// has several.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accounts: BTreeMap<ProviderId, Box<str>>,
    /// Who may read its directory; the daemon's own user when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The group that may read as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Which pods may have its directory as a volume; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Box<PodIdentity>>,
    /// Which nodes serve it, by a name of their certificates; none when absent. It says where the agent runs, not whose it
    /// is: a node that is added or taken away makes no other holder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<CertificateName>,
    /// What it needs.
    #[serde(default)]
    pub integrations: Vec<Requirement>,
}

/// What a pod is to Kubernetes: the service account that it runs as.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodIdentity {
    /// The pod's namespace.
    pub namespace: Box<str>,
    /// The pod's service account, in that namespace. Not optional: whoever means `default` says so.
    #[serde(rename = "serviceAccount")]
    pub service_account: Box<str>,
}

/// `namespace/serviceAccount`.
impl fmt::Display for PodIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.service_account)
    }
}

impl PodIdentity {
    /// The field that Kubernetes would not take as a name, and why.
    fn wrong(&self) -> Option<(&'static str, String)> {
        let fields = [
            ("kubernetes.namespace", &self.namespace, is_label(&self.namespace)),
            (
                "kubernetes.serviceAccount",
                &self.service_account,
                self.service_account.len() <= MAX_SUBDOMAIN && self.service_account.split('.').all(is_label),
            ),
        ];
        let (field, value, _) = fields.into_iter().find(|(_, _, fits)| !fits)?;
        let value = text::quoted(value, 80);
        Some((
            field,
            format!("`{value}` is no name of Kubernetes': lower-case letters, digits and hyphens"),
        ))
    }
}

/// One thing that an agent needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// The capability.
    pub key: CapabilityKey,
    /// What the agent uses it for, in its author's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The agent works without it as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// What is wrong with a manifest, and where.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ManifestError {
    /// The file, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// The field, such as `integrations[0].key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
        }
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{line}:{column}:")?;
        }
        if self.file.is_some() || self.line.is_some() {
            f.write_str(" ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ManifestError {}

impl ManifestError {
    /// An error in a field.
    pub(super) fn in_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            message: message.into(),
            ..Self::default()
        }
    }

    /// An error in the whole.
    pub(super) fn in_all(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }
}

impl Manifest {
    /// Checks what no single field can check for itself, and that every declared capability is in the catalogue.
    pub fn validate(&self, catalog: &Catalog) -> Result<(), ManifestError> {
        self.check()?;
        let is_other = |provider: &&ProviderId| !catalog.added().contains(provider);
        if let Some(unknown) = self.accounts.keys().find(is_other) {
            let message = format!(
                "`{unknown}` is none of the configuration's `[[providers]]`; Google's accounts are named in `account` and \
                 `service_account`"
            );
            return Err(ManifestError::in_field(format!("accounts.{unknown}"), message));
        }
        for (index, requirement) in self.integrations.iter().enumerate() {
            if let Err(unknown) = catalog.require(&requirement.key) {
                let field = format!("integrations[{index}].key");
                return Err(ManifestError::in_field(field, unknown.to_string()));
            }
        }
        Ok(())
    }

    /// Reads a manifest from JSON, as [`Manifest::to_json`] writes it. Whether its capabilities exist is for
    /// [`Manifest::validate`] to say.
    pub fn from_json(text: &str) -> Result<Self, ManifestError> {
        check_size(text)?;
        let mut json = serde_json::Deserializer::from_str(text::plain(text));
        let mut manifest: Self = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            from_json_error(&path, error.inner())
        })?;
        json.end().map_err(|error| from_json_error("", &error))?;
        manifest.integrations.shrink_to_fit();
        manifest.check()?;
        Ok(manifest)
    }

    /// The address in one of the fields that name accounts.
    pub fn account_in(&self, field: &AccountField) -> Option<&str> {
        match field {
            AccountField::Account => self.account.as_deref(),
            AccountField::ServiceAccount => self.service_account.as_deref(),
            AccountField::Accounts(provider) => self.accounts.get(provider).map(|address| &**address),
        }
    }

    /// This manifest as one line of JSON.
    #[expect(
        clippy::missing_panics_doc,
        reason = "it cannot fail for texts, numbers and booleans"
    )]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a manifest holds only texts, numbers and booleans")
    }

    /// The rules that no single field can check for itself.
    pub(super) fn check(&self) -> Result<(), ManifestError> {
        let others = self.accounts.keys().cloned().map(AccountField::Accounts);
        for field in [AccountField::Account, AccountField::ServiceAccount]
            .into_iter()
            .chain(others)
        {
            let Some(account) = self.account_in(&field).filter(|account| !names_account(account)) else {
                continue;
            };
            let message = format!(
                "`{}` is not the address of an account, such as alice@example.com",
                text::quoted(account, 80)
            );
            return Err(ManifestError::in_field(field.to_string(), message));
        }
        for (field, id) in [("uid", self.uid), ("gid", self.gid)] {
            // (uid_t)-1 means "leave it as it is" to chown(2).
            if id == Some(u32::MAX) {
                return Err(ManifestError::in_field(field, "4294967295 is no user or group"));
            }
        }
        if let Some((field, message)) = self.kubernetes.as_deref().and_then(PodIdentity::wrong) {
            return Err(ManifestError::in_field(field, message));
        }
        if let Some(message) = wrong_nodes(&self.nodes) {
            return Err(ManifestError::in_field("nodes", message));
        }
        if self.integrations.len() > MAX_REQUIREMENTS {
            let message = format!(
                "{} entries: an agent declares at most {MAX_REQUIREMENTS}",
                self.integrations.len()
            );
            return Err(ManifestError::in_field("integrations", message));
        }
        let mut seen = HashSet::new();
        for (index, requirement) in self.integrations.iter().enumerate() {
            if !seen.insert(&requirement.key) {
                let message = format!("`{}` is declared twice", requirement.key);
                return Err(ManifestError::in_field(
                    format!("integrations[{index}].key"),
                    message,
                ));
            }
            if let Some(message) = wrong_description(&requirement.description) {
                let field = format!("integrations[{index}].description");
                return Err(ManifestError::in_field(field, message));
            }
        }
        Ok(())
    }
}

fn wrong_nodes(nodes: &[CertificateName]) -> Option<String> {
    if nodes.len() > MAX_NODES {
        return Some(format!(
            "{} entries: an agent is served by at most {MAX_NODES} nodes",
            nodes.len()
        ));
    }
    let mut seen = HashSet::new();
    let twice = nodes.iter().find(|node| !seen.insert(*node))?;
    Some(format!("`{twice}` is named twice"))
}

/// True for what can be an account's address or id.
fn names_account(text: &str) -> bool {
    is_address(text) || text.parse::<IntegrationId>().is_ok()
}

/// True for what can be an account's address. Whether it is one is for the provider to say.
fn is_address(text: &str) -> bool {
    let unfit = |c: char| !text::is_part_of_name(c) || matches!(c, '"' | '\\' | '<' | '>' | ',');
    let parts = text.split_once('@');
    text.len() <= MAX_ADDRESS
        && !text.contains(unfit)
        && parts.is_some_and(|(who, place)| !who.is_empty() && !place.is_empty() && !place.contains('@'))
}

/// True for a DNS label (RFC 1123).
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn wrong_description(text: &str) -> Option<String> {
    let length = text.chars().count();
    if length > MAX_DESCRIPTION {
        return Some(format!(
            "{length} characters long: at most {MAX_DESCRIPTION} are shown to people"
        ));
    }
    let control = text.chars().find(|c| c.is_control())?;
    Some(format!(
        "it holds the control character `{}`: write one line of text",
        control.escape_default()
    ))
}

/// Refuses what is longer than any honest manifest, before it is read.
pub(super) fn check_size(text: &str) -> Result<(), ManifestError> {
    if text.len() > MAX_BYTES {
        let message = format!(
            "it is {} bytes long, and a manifest has at most {MAX_BYTES}",
            text.len()
        );
        return Err(ManifestError::in_all(message));
    }
    Ok(())
}

/// The path of a field as it is shown; `None` for the whole.
pub(super) fn shown_path(path: &str) -> Option<String> {
    (!matches!(path, "" | "." | "?")).then(|| path.to_owned())
}

fn from_json_error(path: &str, error: &serde_json::Error) -> ManifestError {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    ManifestError {
        field: shown_path(path),
        message: text.strip_suffix(&place).unwrap_or(&text).to_owned(),
        ..ManifestError::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> String {
        Manifest::from_json(json).unwrap_err().to_string()
    }

    #[test]
    fn json_survives_a_round_trip() {
        let text = r#"{"agent":"invoice-bot","owner":"alice","account":"alice@work.example","service_account":"robot@project.iam.gserviceaccount.com","uid":1000,"kubernetes":{"namespace":"billing","serviceAccount":"invoice-bot"},"nodes":["spiffe://corp.example/node/7","node-8.corp.example"],"integrations":[{"key":"google.gmail.send","description":"Send order confirmations"},{"key":"google.calendar","optional":true}]}"#;
        let manifest = Manifest::from_json(text).unwrap();
        assert_eq!(manifest.to_json(), text);
        assert_eq!(manifest.validate(&Catalog::builtin()), Ok(()));
    }

    #[test]
    fn a_json_error_names_the_field() {
        for (json, message) in [
            (
                r#"{"agent":"a","owner":"b","uid":-1}"#,
                "uid: invalid value: integer `-1`, expected u32",
            ),
            (r#"{"agent":"a"}"#, "missing field `owner`"),
            (r#"{"agent":"a","owner":"b"} x"#, "trailing characters"),
            (
                r#"{"agent":"a","owner":"b","integrations":[{"key":"google.drive","x":1}]}"#,
                "integrations[0].x: unknown field `x`, expected one of `key`, `description`, `optional`",
            ),
            (
                r#"{"agent":"a","owner":"b","uid":4294967295}"#,
                "uid: 4294967295 is no user or group",
            ),
            (
                r#"{"agent":"a","owner":"b","account":"work"}"#,
                "account: `work` is not the address of an account, such as alice@example.com",
            ),
            (
                r#"{"agent":"a","owner":"b","account":"a@b\u001b[2J"}"#,
                "account: `a@b\\u{1b}[2J` is not the address of an account, such as alice@example.com",
            ),
            (
                "{\"agent\":\"a\",\"owner\":\"b\",\"account\":\"a@b.example\u{200b}\"}",
                "account: `a@b.example\\u{200b}` is not the address of an account, such as alice@example.com",
            ),
            (
                r#"{"agent":"a","owner":"b","nodes":["*.corp.example"]}"#,
                "nodes[0]: `*.corp.example` is not a certificate's name: a URI or a DNS name, written as the certificate does, \
                 without a wildcard",
            ),
            (
                r#"{"agent":"a","owner":"b","nodes":["n","m","n"]}"#,
                "nodes: `n` is named twice",
            ),
            (
                r#"{"agent":"a","owner":"b","kubernetes":{"namespace":"billing"}}"#,
                "kubernetes: missing field `serviceAccount`",
            ),
            (
                r#"{"agent":"a","owner":"b","kubernetes":{"namespace":"a/b","serviceAccount":"c"}}"#,
                "kubernetes.namespace: `a/b` is no name of Kubernetes': lower-case letters, digits and hyphens",
            ),
            (
                r#"{"agent":"a","owner":"b","kubernetes":{"namespace":"a","serviceAccount":"c:d"}}"#,
                "kubernetes.serviceAccount: `c:d` is no name of Kubernetes': lower-case letters, digits and hyphens",
            ),
        ] {
            assert_eq!(refused(json), message, "{json}");
        }
    }

    #[test]
    fn accounts_are_named_for_the_configurations_providers_alone() {
        let read = |accounts: &str| {
            let text = format!(r#"{{"agent":"a","owner":"b","accounts":{accounts}}}"#);
            let manifest = Manifest::from_json(&text).map_err(|error| error.to_string())?;
            let catalog = Catalog::builtin().knowing("acme".parse().unwrap());
            manifest.validate(&catalog).map_err(|error| error.to_string())
        };
        assert_eq!(read(r#"{"acme":"alice@example.com"}"#), Ok(()));
        for other in ["google", "google-sa", "other"] {
            let error = read(&format!(r#"{{"{other}":"alice@example.com"}}"#)).unwrap_err();
            assert!(error.contains(&format!("`{other}` is none of")), "{error}");
        }
        assert!(read(r#"{"acme":"work"}"#).unwrap_err().contains("accounts.acme"));
    }

    #[test]
    fn limits_are_held() {
        let requirement = |key: &str, description: &str| Requirement {
            key: key.parse().unwrap(),
            description: description.to_owned(),
            optional: false,
        };
        let with = |integrations: Vec<Requirement>| {
            let agent = "a".parse().unwrap();
            let owner = "b".parse().unwrap();
            Manifest {
                agent,
                owner,
                account: None,
                service_account: None,
                accounts: BTreeMap::new(),
                uid: None,
                gid: None,
                kubernetes: None,
                nodes: Vec::new(),
                integrations,
            }
            .check()
        };
        let many = |count: usize| (0..count).map(|n| requirement(&format!("x.k{n}"), "")).collect();
        assert_eq!(with(many(64)), Ok(()));
        assert_eq!(
            with(many(65)).unwrap_err().to_string(),
            "integrations: 65 entries: an agent declares at most 64"
        );
        assert_eq!(with(vec![requirement("x.a", &"ä".repeat(500))]), Ok(()));
        assert_eq!(
            with(vec![requirement("x.a", &"ä".repeat(501))])
                .unwrap_err()
                .to_string(),
            "integrations[0].description: 501 characters long: at most 500 are shown to people"
        );
        assert_eq!(
            with(vec![requirement("x.a", "a\u{1b}[31m")])
                .unwrap_err()
                .to_string(),
            "integrations[0].description: it holds the control character `\\u{1b}`: write one line of text"
        );
        assert_eq!(
            with(vec![requirement("x.a", ""), requirement("x.a", "")])
                .unwrap_err()
                .to_string(),
            "integrations[1].key: `x.a` is declared twice"
        );
        let long = format!(r#"{{"agent":"a","owner":"b"}}{}"#, " ".repeat(MAX_BYTES));
        assert_eq!(
            refused(&long),
            "it is 65561 bytes long, and a manifest has at most 65536"
        );
    }

    #[test]
    fn an_unknown_capability_is_named_with_a_suggestion() {
        let manifest =
            Manifest::from_json(r#"{"agent":"a","owner":"b","integrations":[{"key":"google.gmal.send"}]}"#)
                .unwrap();
        assert_eq!(
            manifest.validate(&Catalog::builtin()).unwrap_err().to_string(),
            "integrations[0].key: `google.gmal.send` is not in the catalogue: did you mean `google.gmail.send`?"
        );
    }
}
