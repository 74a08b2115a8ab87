//! The configuration file that `token-broker init` writes.

use std::fmt::Write;

use super::{
    error::ConfigError,
    keys::KEYS,
    schema::{Key, Kind},
};

const HEAD: &str = "\
# token-broker's configuration.
#
# What is commented out shows the default, or an example where there is none. Each key can also come from
# the environment, which wins over this file: key `client_id` in [google] is TOKEN_BROKER_GOOGLE_CLIENT_ID;
# lists are separated by commas there. Paths are relative to this file's folder. Agents are declared in the
# folder agents.d beside this file.
";

const CAPABILITIES: &str = "
# Capabilities beyond the built-in ones (`token-broker capabilities` lists those). `satisfied_by` names wider
# keys that include this one, `satisfies` narrower ones. `group` is the heading that people see it under;
# `verification` is how Google classifies the scope: basic, sensitive or restricted.
# [[capabilities]]
# key = \"google.tasks.readonly\"
# title = \"Read tasks\"
# use = \"Plan the day\"
# group = \"Tasks\"
# scopes = [\"https://www.googleapis.com/auth/tasks.readonly\"]
# verification = \"sensitive\"
";

const CLIENTS: &str = "
# Who may call AdminService at admin.listen, by a URI or DNS name of the certificate: with a role (operator, platform or
# viewer), or with what is one owner's. SIGHUP has the list read again.
# [[admin.clients]]
# name = \"spiffe://corp.example/orchestrator\"
# role = \"platform\"
";

const PROVIDERS: &str = "
# Providers beside Google: servers that speak OpenID Connect and tell where they are. A capability belongs to one of
# them by `integration = \"acme\"`.
# [[providers]]
# id = \"acme\"
# type = \"oidc\"
# name = \"Acme\"
# issuer = \"https://login.acme.example\"
# client_id = \"token-broker\"
# client_secret_file = \"acme.secret\"
";

/// The whole file, commented, with every key and every default. `values` are set, each as an environment
/// variable would spell it; a path that is no key is an error.
pub fn template(values: &[(&str, &str)]) -> Result<String, ConfigError> {
    if let Some((path, _)) = values.iter().find(|(path, _)| KEYS.find(path).is_none()) {
        return Err(ConfigError::new(format!("{path}: there is no such key")));
    }
    let mut text = HEAD.to_owned();
    for section in KEYS.0 {
        if !section.name.is_empty() {
            push(&mut text, format_args!("\n[{}]", section.name));
        }
        for key in section.keys {
            text.push('\n');
            for line in key.doc.lines() {
                push(&mut text, format_args!("# {line}"));
            }
            let given = values.iter().find(|(path, _)| *path == key.path);
            let (mark, value) = given.map_or(("# ", key.shown()), |(_, value)| ("", value));
            push(
                &mut text,
                format_args!("{mark}{} = {}", key.name(), literal(key, value)),
            );
        }
    }
    text.push_str(CLIENTS);
    text.push_str(CAPABILITIES);
    text.push_str(PROVIDERS);
    Ok(text)
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "{line}");
}

/// A value as the file spells it, given as a variable would have it.
pub(super) fn literal(key: &Key, value: &str) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    match key.kind {
        Kind::Number { .. } | Kind::Flag => value.to_owned(),
        Kind::List => {
            let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
            format!("[{}]", items.map(quoted).collect::<Vec<_>>().join(", "))
        }
        Kind::Text | Kind::Choice(_) | Kind::Path | Kind::Address | Kind::Url => quoted(value),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::*;
    use crate::{config::Config, provider::kinds};

    fn load(dir: &Path, text: &str) -> Config {
        let path = dir.join("config.toml");
        fs::write(&path, text).unwrap();
        Config::load(Some(&path), std::iter::empty())
            .map_err(|e| e.to_string())
            .unwrap()
    }

    #[test]
    fn the_template_loads_and_equals_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let defaults = load(dir.path(), "");
        assert!(load(dir.path(), &template(&[]).unwrap()) == defaults);
    }

    #[test]
    fn the_defaults_that_it_shows_are_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let defaults = load(dir.path(), "");
        let text = template(&[]).unwrap();
        let mut active = text.clone();
        for key in KEYS.keys() {
            let shown = format!("# {} = {}\n", key.name(), literal(key, key.shown()));
            assert!(text.contains(&shown), "{shown}");
            if key.default().is_some() {
                active = active.replace(&shown, &shown[2..]);
            }
        }
        assert_ne!(active, text);
        let mut loaded = load(dir.path(), &active);
        // Two sections have a key of this line, and for one of them it is no more than an example.
        assert_eq!(loaded.changed_keys(&defaults), ["csi.audience"]);
        loaded.written.clone_from(&defaults.written);
        assert!(loaded == defaults);
    }

    #[test]
    fn values_are_set_whatever_they_hold() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("odd \"name\"");
        let text = template(&[
            ("state_dir", state.to_str().unwrap()),
            ("google.client_id", "id.apps.googleusercontent.com"),
            ("renewal.concurrency", "7"),
            (
                "connect.return_url_origins",
                "https://a.example, https://b.example",
            ),
        ]);
        let config = load(dir.path(), &text.unwrap());
        assert_eq!(config.state_dir, state);
        assert_eq!(
            config.google.client_id.as_deref(),
            Some("id.apps.googleusercontent.com")
        );
        assert_eq!(config.renewal.concurrency, 7);
        assert_eq!(config.connect.return_url_origins.len(), 2);
    }

    /// What a commented example says.
    fn uncommented(example: &str) -> String {
        let (_, example) = example.split_once("# [[").unwrap();
        format!("# [[{example}").replace("# ", "")
    }

    #[test]
    fn the_examples_load() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path(), &uncommented(CAPABILITIES)).capabilities.len(), 1);
        let admin =
            "[admin]\nlisten = '127.0.0.1:0'\ncertificate_file = 'a'\nkey_file = 'b'\nclient_ca_file = 'c'\n";
        let admin = load(dir.path(), &format!("{admin}{}", uncommented(CLIENTS))).admin;
        assert_eq!(admin.unwrap().clients.len(), 1);
        let config = load(dir.path(), &uncommented(PROVIDERS));
        let secret = dir.path().join("acme.secret");
        fs::write(&secret, "sesame\n").unwrap();
        fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
        let added = kinds::added(&config.providers, &config.google.redirect_uri);
        let added = added.map_err(|error| error.to_string()).unwrap();
        assert_eq!(added[0].profile.name, "Acme");
    }

    #[test]
    fn a_value_for_no_key_is_refused() {
        let error = template(&[("google.id", "x")]).unwrap_err().to_string();
        assert_eq!(error, "google.id: there is no such key");
    }
}
