//! Drive: the list of files.

use http::Method;
use serde_json::{Value, json};

use super::{
    access::{ApiError, admit, with_workspace},
    request::{limit, no_method, page},
};
use crate::{core::Core, message::Call};

const SERVICE: &str = "drive.googleapis.com";
const READ: &[&str] = &[
    "drive.readonly",
    "drive",
    "drive.metadata.readonly",
    "drive.metadata",
];

pub(crate) fn answer(core: &Core, call: &Call, segments: &[&str]) -> Result<Value, ApiError> {
    if call.method != Method::GET || segments != ["drive", "v3", "files"] {
        return Err(no_method(call));
    }
    let (account, _) = admit(core, call, SERVICE, READ)?;
    let size = limit(call, "pageSize", 100, 1000)?;
    let query = Query::parse(call.query.get("q").unwrap_or_default())?;
    let found: Vec<Value> = with_workspace(core, account, |workspace, _| {
        workspace
            .files
            .iter()
            .filter(|file| query.matches(file))
            .cloned()
            .collect()
    });
    let (files, next) = page(call, &found, size)?;
    let mut answer = json!({ "kind": "drive#fileList", "incompleteSearch": false, "files": files });
    if let Some(next) = next {
        answer["nextPageToken"] = next;
    }
    Ok(answer)
}

/// The part of Drive's search language that the emulator knows: `name = '…'`, `name contains '…'`,
/// `mimeType = '…'` and `trashed = false`, joined by `and`.
struct Query(Vec<Clause>);

enum Clause {
    Is(&'static str, Value),
    NameContains(String),
}

impl Query {
    fn parse(text: &str) -> Result<Self, ApiError> {
        if text.trim().is_empty() {
            return Ok(Self(Vec::new()));
        }
        let clauses: Option<Vec<Clause>> = text
            .split(" and ")
            .map(|part| Clause::parse(part.trim()))
            .collect();
        let message =
            "Invalid Value: the emulator knows `name =`, `name contains`, `mimeType =` and `trashed =`.";
        clauses.map(Self).ok_or_else(|| ApiError::bad(message, "invalid"))
    }

    fn matches(&self, file: &Value) -> bool {
        self.0.iter().all(|clause| match clause {
            Clause::Is(field, value) => file[*field] == *value,
            Clause::NameContains(part) => file["name"]
                .as_str()
                .is_some_and(|name| name.to_lowercase().contains(&part.to_lowercase())),
        })
    }
}

impl Clause {
    fn parse(text: &str) -> Option<Self> {
        let (left, right) = text.split_once('=').or_else(|| text.split_once(" contains "))?;
        let contains = !text.contains('=');
        let quoted = right
            .trim()
            .strip_prefix('\'')
            .and_then(|rest| rest.strip_suffix('\''));
        match (left.trim(), contains, quoted) {
            ("name", true, Some(part)) => Some(Self::NameContains(part.to_owned())),
            ("name", false, Some(name)) => Some(Self::Is("name", name.into())),
            ("mimeType", false, Some(kind)) => Some(Self::Is("mimeType", kind.into())),
            ("trashed", false, None) => Some(Self::Is("trashed", Value::Bool(right.trim().parse().ok()?))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_what_it_knows_and_refuses_the_rest() {
        let file = json!({ "name": "Contract.pdf", "mimeType": "application/pdf", "trashed": false });
        let matches = |text| Query::parse(text).map(|query| query.matches(&file)).ok();
        assert_eq!(matches(""), Some(true));
        assert_eq!(
            matches("mimeType='application/pdf' and trashed = false"),
            Some(true)
        );
        assert_eq!(matches("name contains 'contr'"), Some(true));
        assert_eq!(matches("name = 'Other'"), Some(false));
        assert_eq!(matches("'root' in parents"), None);
    }
}
