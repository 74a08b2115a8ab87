//! What the protocol of KMS plugins demands of their answers, as the Kubernetes API server holds it.

use std::collections::HashMap;

use crate::{
    proto::kms::{EncryptResponse, StatusResponse},
    text::scrub::scrub,
};

/// Bytes of an id of a key, and of a ciphertext.
const MOST: usize = 1024;
/// Bytes of all annotations, keys and values.
const MOST_ANNOTATIONS: usize = 32 * 1024;
const VERSIONS: [&str; 2] = ["v2", "v2beta1"];
const HEALTHY: &str = "ok";

/// Why an answer is not taken.
pub(super) type Broken = String;

/// A plugin that says so of itself is healthy and speaks this protocol.
pub(super) fn check_status(status: &StatusResponse) -> Result<(), Broken> {
    if !VERSIONS.contains(&status.version.as_str()) {
        let version = scrub(&status.version, &[]);
        return Err(format!(
            "the plugin speaks version \"{version}\" of the protocol, which has to be \"v2\": install a plugin of KMS v2"
        ));
    }
    if status.healthz != HEALTHY {
        let said = scrub(&status.healthz, &[]);
        return Err(format!(
            "the plugin says that it is not healthy: {said}; look at its log"
        ));
    }
    check_key_id(&status.key_id)
}

pub(super) fn check_encrypted(answer: &EncryptResponse) -> Result<(), Broken> {
    check_key_id(&answer.key_id)?;
    check_size("ciphertext", answer.ciphertext.len())?;
    check_annotations(&answer.annotations)
}

fn check_key_id(key_id: &str) -> Result<(), Broken> {
    check_size("key_id", key_id.len())
}

fn check_size(what: &str, size: usize) -> Result<(), Broken> {
    match size {
        0 => Err(format!(
            "the plugin's answer has an empty {what}, against its protocol"
        )),
        1..=MOST => Ok(()),
        _ => Err(format!(
            "the plugin's answer has a {what} of {size} bytes; the protocol allows {MOST}"
        )),
    }
}

fn check_annotations(annotations: &HashMap<String, Vec<u8>>) -> Result<(), Broken> {
    let size: usize = annotations
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if size > MOST_ANNOTATIONS {
        return Err(format!(
            "the plugin's answer has annotations of {size} bytes; the protocol allows {MOST_ANNOTATIONS}"
        ));
    }
    match annotations.keys().find(|key| !is_domain_name(key)) {
        Some(key) => Err(format!(
            "the plugin's answer has an annotation \"{}\", which the protocol demands to be a domain name",
            scrub(key, &[])
        )),
        None => Ok(()),
    }
}

/// A fully qualified domain name as Kubernetes has it: lower-case labels (RFC 1123), two at least, perhaps with the root's dot.
fn is_domain_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.contains('.') && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = label.as_bytes();
    matches!(bytes, [first, .., last] if alphanumeric(*first) && alphanumeric(*last))
        && bytes.len() <= 63
        && bytes.iter().all(|&b| alphanumeric(b) || b == b'-')
        || matches!(bytes, [only] if alphanumeric(*only))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(version: &str, healthz: &str, key_id: &str) -> Result<(), Broken> {
        check_status(&StatusResponse {
            version: version.to_owned(),
            healthz: healthz.to_owned(),
            key_id: key_id.to_owned(),
        })
    }

    fn encrypted(ciphertext: usize, key_id: usize, annotations: &[(&str, usize)]) -> Result<(), Broken> {
        let annotation = |(key, size): &(&str, usize)| ((*key).to_owned(), vec![0; *size]);
        check_encrypted(&EncryptResponse {
            ciphertext: vec![0; ciphertext],
            key_id: "k".repeat(key_id),
            annotations: annotations.iter().map(annotation).collect(),
        })
    }

    #[test]
    fn a_healthy_plugin_of_this_protocol_is_taken_and_no_other() {
        assert_eq!(status("v2", "ok", "1"), Ok(()));
        assert_eq!(status("v2beta1", "ok", &"k".repeat(1024)), Ok(()));
        for (version, healthz, key_id, says) in [
            ("v1beta1", "ok", "1", "speaks version \"v1beta1\""),
            ("", "ok", "1", "speaks version \"\""),
            ("v2", "no\nHSM", "1", "not healthy: no HSM;"),
            ("v2", "OK", "1", "not healthy"),
            ("v2", "", "1", "not healthy"),
            ("v2", "ok", "", "an empty key_id"),
            ("v2", "ok", &"k".repeat(1025), "a key_id of 1025 bytes"),
        ] {
            let error = status(version, healthz, key_id).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn what_was_encrypted_has_a_size() {
        assert_eq!(encrypted(1024, 1024, &[]), Ok(()));
        for (ciphertext, key_id, says) in [
            (0, 1, "an empty ciphertext"),
            (1025, 1, "a ciphertext of 1025 bytes"),
            (1, 0, "an empty key_id"),
            (1, 1025, "a key_id of 1025 bytes"),
        ] {
            let error = encrypted(ciphertext, key_id, &[]).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn annotations_have_domain_names_and_a_size() {
        let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        for name in ["example.com", "a.b.", "x-1.kms.example.com", &long] {
            assert_eq!(encrypted(1, 1, &[(name, 1)]), Ok(()), "{name}");
        }
        let label = format!("{}.com", "a".repeat(64));
        for name in [
            "",
            ".",
            "com",
            "com.",
            "a..b",
            ".a.b",
            "Example.com",
            "a_b.com",
            "-a.com",
            "a-.com",
            "a.com/x",
            "é.com",
            &label,
            &format!("{long}d"),
        ] {
            let error = encrypted(1, 1, &[(name, 1)]).unwrap_err();
            assert!(error.contains("to be a domain name"), "{name}: {error}");
        }
        assert_eq!(
            encrypted(1, 1, &[("a.b", 16 * 1024), ("c.d", 16 * 1024 - 6)]),
            Ok(())
        );
        let error = encrypted(1, 1, &[("a.b", 16 * 1024), ("c.d", 16 * 1024 - 5)]).unwrap_err();
        assert!(error.contains("annotations of 32769 bytes"), "{error}");
    }
}
