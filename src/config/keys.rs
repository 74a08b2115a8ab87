//! All keys of the configuration but those of `[[admin.clients]]`, `[[providers]]` and `[[capabilities]]`, which have forms of
//! their own.

use super::{
    adc, admin, audit, base, connect, console, csi, google, key, kubernetes, log, metadata, remote, renewal,
    risc, sandbox, schema::Sections, store, upstream,
};

/// All sections, in the order of the file that `init` writes.
pub(super) const KEYS: Sections = Sections(&[
    &base::SECTION,
    &key::SECTION,
    &store::SECTION,
    &store::CLUSTER,
    &google::SECTION,
    &log::SECTION,
    &renewal::SECTION,
    &audit::SECTION,
    &connect::SECTION,
    &console::SECTION,
    &adc::SECTION,
    &metadata::SECTION,
    &risc::SECTION,
    &kubernetes::SECTION,
    &csi::SECTION,
    &remote::SECTION,
    &admin::SECTION,
    &sandbox::SECTION,
    &upstream::SECTION,
]);

/// True for a key whose value does not belong where others can see it. A key `…_file` takes a file that holds it instead.
pub fn is_secret(path: &str) -> bool {
    KEYS.find(path).is_some_and(|key| key.is_secret)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt,
        path::Path,
    };

    use super::*;
    use crate::config::{
        Config,
        schema::{Key, Kind},
    };

    #[test]
    fn no_two_keys_share_a_variable() {
        let variables: HashSet<_> = KEYS.keys().map(Key::variable).collect();
        assert_eq!(variables.len(), KEYS.keys().count());
        assert!(variables.contains("TOKEN_BROKER_GOOGLE_CLIENT_ID"));
        assert!(variables.contains("TOKEN_BROKER_STATE_DIR"));
    }

    #[test]
    fn each_key_lies_in_its_section_and_has_a_sentence_and_a_value_to_show() {
        for section in KEYS.0 {
            for key in section.keys {
                let path = [section.name, key.name()].join(".");
                assert_eq!(key.path, path.trim_start_matches('.'));
                assert!(key.doc.ends_with('.'), "{path}");
                assert!(
                    matches!(key.kind, Kind::List) || !key.shown().is_empty(),
                    "{path}"
                );
            }
        }
    }

    #[test]
    fn the_sentence_about_a_number_names_its_range() {
        for key in KEYS.keys() {
            if let Some(range) = key.range() {
                for end in [range.start(), range.end()] {
                    let named = key.doc.split(|c: char| !c.is_ascii_digit());
                    assert!(
                        named.clone().any(|number| number == end.to_string()),
                        "{}: {end}",
                        key.path
                    );
                }
            }
        }
    }

    /// A value of a type that no key takes is refused by the one who reads the key.
    #[test]
    fn each_key_is_read_by_its_section() {
        // What makes the sections that may be absent read all their keys.
        let needed = [
            ("kubernetes.api_url", "'https://10.96.0.1'"),
            ("csi.endpoint", "'/csi.sock'"),
            ("csi.registration", "'/registration.sock'"),
            ("remote.listen", "'0.0.0.0:8443'"),
            ("remote.certificate_file", "'/tls.crt'"),
            ("remote.key_file", "'/tls.key'"),
            ("remote.client_ca_file", "'/ca.crt'"),
            ("admin.listen", "'0.0.0.0:8444'"),
            ("admin.certificate_file", "'/tls.crt'"),
            ("admin.key_file", "'/tls.key'"),
            ("admin.client_ca_file", "'/ca.crt'"),
        ];
        let file = |wrong: &str| {
            let set = needed.iter().filter(|(path, _)| *path != wrong);
            let lines = set.map(|(path, value)| format!("{path} = {value}\n"));
            lines.collect::<String>() + &format!("{wrong} = 1979-05-27\n")
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        // A node's are read where no broker's are.
        for key in KEYS.keys().filter(|key| !key.path.starts_with("upstream.")) {
            let text = file(key.path);
            fs::write(&path, &text).unwrap();
            // One of them is a secret, which is taken from a private file alone.
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let read = Config::load(Some(&path), std::iter::empty());
            let error = read.err().map(|error| error.to_string()).unwrap_or_default();
            let place = format!("{}:{}: {} is ", path.display(), text.lines().count(), key.path);
            assert!(error.starts_with(&place), "{place}: {error}");
        }
    }

    #[test]
    fn each_word_of_a_choice_is_taken_and_no_other() {
        for key in KEYS.keys() {
            let Kind::Choice(words) = key.kind else { continue };
            let taken = |word: &str| {
                let text = format!("{} = '{word}'", key.path);
                Config::from_parts(Path::new("/c.toml"), Some(&text), std::iter::empty()).is_ok()
            };
            assert!(
                words.iter().all(|word| taken(word)) && !taken("other"),
                "{}",
                key.path
            );
        }
    }

    #[test]
    fn a_secret_may_be_in_a_file_instead() {
        for key in KEYS.keys().filter(|key| key.is_secret) {
            let file = format!("{}_file", key.path);
            assert!(matches!(KEYS.find(&file).unwrap().kind, Kind::Path), "{file}");
        }
    }
}
