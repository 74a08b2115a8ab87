//! `[risc]`: what Google announces by itself (Cross-Account Protection).

use super::{
    error::ConfigError,
    schema::{Key, Kind, Section, Unset},
    values::Values,
};

/// The keys of `[risc]`.
pub(super) const SECTION: Section = Section {
    name: "risc",
    about: "What Google announces by itself (Cross-Account Protection)",
    keys: &[Key {
        path: "risc.audiences",
        kind: Kind::List,
        unset: Unset::Default(""),
        form: "client ids, such as \"1234-abcd.apps.googleusercontent.com\"",
        doc: "The client ids of the Google project whose security events are taken at POST /risc (Cross-Account\n\
             Protection). Nothing is taken without any.",
        ..Key::USUAL
    }],
};

/// The `[risc]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RiscSection {
    /// The OAuth clients for which events are taken; none are without any.
    pub audiences: Vec<String>,
}

impl RiscSection {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        let fits = |id: &str| (1..=256).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        let audience = |id: &str| fits(id).then(|| id.to_owned());
        Ok(Self {
            audiences: values.list_of("risc.audiences", audience)?,
        })
    }

    /// What deserves attention.
    pub(super) fn warning(&self, client_id: Option<&str>) -> Option<String> {
        let ours = client_id.filter(|id| !self.audiences.iter().any(|audience| audience == id))?;
        (!self.audiences.is_empty()).then(|| {
            format!("risc.audiences does not name google.client_id {ours}: Google's events about its grants are refused")
        })
    }
}
