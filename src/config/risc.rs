//! `[risc]`: what Google announces by itself (Cross-Account Protection).

use super::{error::ConfigError, values::Values};

/// The `[risc]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RiscSection {
    /// The OAuth clients for which events are taken; none are without any.
    pub audiences: Vec<String>,
}

impl RiscSection {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        const EXPECTED: &str = "client ids, such as \"1234-abcd.apps.googleusercontent.com\"";
        let audiences = values.list("risc.audiences")?;
        let fits = |id: &String| (1..=256).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        if !audiences.iter().all(fits) {
            return Err(values.wrong("risc.audiences", EXPECTED));
        }
        Ok(Self { audiences })
    }

    /// What deserves attention.
    pub(super) fn warning(&self, client_id: Option<&str>) -> Option<String> {
        let ours = client_id.filter(|id| !self.audiences.iter().any(|audience| audience == id))?;
        (!self.audiences.is_empty()).then(|| {
            format!("risc.audiences does not name google.client_id {ours}: Google's events about its grants are refused")
        })
    }
}
