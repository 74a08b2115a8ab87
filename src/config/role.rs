//! What a node's configuration may say: nothing that is for a broker, so that no machine keeps a secret which nobody reads there.

use super::{error::ConfigError, keys::KEYS, values::Values};

/// What a node takes: keys before the first section, and sections.
const OF_A_NODE: [&str; 5] = ["runtime_dir", "http_listen", "log", "sandbox", "upstream"];

/// Refuses a key of a broker's in a node's configuration, and the other way round. `lists` are the tables of the file that
/// have forms of their own.
pub(super) fn check(values: &Values, lists: &[(&str, bool)]) -> Result<(), ConfigError> {
    let is_said = |path: &str| values.sources().found(path).is_some();
    if !is_said("upstream.url") {
        let lost = KEYS
            .keys()
            .find(|key| key.path.starts_with("upstream.") && is_said(key.path));
        return lost.map_or(Ok(()), |key| {
            let message = format!("{} is of no use without upstream.url", values.place(key.path));
            Err(ConfigError::new(message))
        });
    }
    let is_foreign = |path: &str| !OF_A_NODE.contains(&path.split('.').next().unwrap_or(path));
    let foreign = KEYS.keys().find(|key| is_foreign(key.path) && is_said(key.path));
    let foreign = foreign.map(|key| values.place(key.path));
    let list = lists.iter().find(|(_, is_there)| *is_there);
    match foreign.or_else(|| list.map(|(name, _)| (*name).to_owned())) {
        None => Ok(()),
        Some(place) => Err(ConfigError::new(format!(
            "{place} is a broker's, and with upstream.url this daemon is a node, which holds no database, key, client or grant: \
             leave one of the two out"
        ))),
    }
}
