//! What manifests reach first, for the fuzzers in `fuzz/`.

use super::Manifest;
use crate::capability::Catalog;

/// A manifest, from a file and over the API: what is accepted is the same when it is read back.
pub fn manifest(text: &str) {
    let accepted = [
        Manifest::from_yaml_with(&Catalog::builtin(), text, "agent.yaml"),
        Manifest::from_json(text),
    ];
    for manifest in accepted.into_iter().flatten() {
        let back = Manifest::from_json(&manifest.to_json());
        assert!(back.is_ok_and(|back| back == manifest), "it reads back");
    }
}
