//! What a daemon was started with, compared with what is on disk now.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    AdminClient, Config, ConfigError, KeySection, KeySource, OAuthClient, keys::KEYS, written::Written,
};
use crate::text::ShowPath;

/// The configuration that a daemon was started with. No derived `Debug`: it holds the client's secret.
pub struct InForce {
    config: Config,
    client: OAuthClient,
    /// `[[admin.clients]]`, which a running daemon takes over.
    admin_clients: Mutex<Vec<AdminClient>>,
    /// `[key]`, whose seal a running daemon takes over when it is told to seal the keyring anew.
    seal: Mutex<KeySection>,
}

/// The seal that the configuration on disk names, beside the one that wraps the keyring.
#[derive(PartialEq, Eq)]
enum SealOnDisk {
    /// The same.
    InForce,
    /// The same, spoken to in another way.
    OtherSettings,
    /// Another, with a sentence.
    Another(String),
}

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InForce").finish_non_exhaustive()
    }
}

impl InForce {
    /// What is in force from now on.
    ///
    /// # Errors
    /// An OAuth client that is not complete.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            client: config.google.client()?,
            config: config.clone(),
            admin_clients: Mutex::new(config.admin_clients().to_vec()),
            seal: Mutex::new(config.key.clone()),
        })
    }

    /// These clients of the admin API are in force now.
    pub fn note_admin_clients(&self, clients: &[AdminClient]) {
        *self.admin_clients() = clients.to_vec();
    }

    /// `[key]` as it is on disk now. Blocks on the disk.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn key_on_disk(&self) -> Result<KeySection, ConfigError> {
        self.config.on_disk().map(|fresh| fresh.key)
    }

    /// The seal of this section wraps the keyring now.
    pub fn note_seal(&self, section: KeySection) {
        *self.seal.lock().unwrap_or_else(PoisonError::into_inner) = section;
    }

    /// What this section says of the seal. Which seals from before it names is for the next start.
    fn seal_beside(&self, fresh: &KeySection) -> SealOnDisk {
        let seal = self.seal.lock().unwrap_or_else(PoisonError::into_inner);
        if seal.source != fresh.source {
            return SealOnDisk::Another(format!(
                "key.source names {}, and the keyring is wrapped by {}: run `token-broker key reseal`, or set key.source to that",
                fresh.source, seal.source
            ));
        }
        let is_same = match fresh.source {
            KeySource::Transit(_) => seal.transit == fresh.transit,
            KeySource::Command(_) => seal.command_environment == fresh.command_environment,
            _ => true,
        };
        if is_same {
            SealOnDisk::InForce
        } else {
            SealOnDisk::OtherSettings
        }
    }

    fn admin_clients(&self) -> MutexGuard<'_, Vec<AdminClient>> {
        self.admin_clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is different on disk and takes a restart to be in force, in sentences. They name keys and no values. Blocks on
    /// the disk.
    ///
    /// Variables are left out: those of a process are what they were at its start.
    pub fn changes(&self) -> Vec<String> {
        let read = self.config.on_disk().and_then(|fresh| {
            let client = fresh.google.client()?;
            Ok((fresh, client))
        });
        match read {
            Ok((fresh, client)) => self.compared(&fresh, &client),
            Err(error) => vec![format!(
                "a daemon that is started now would refuse the configuration, which was changed since this one was: {error}"
            )],
        }
    }

    /// The same, beside what else is under way.
    pub async fn look_for_changes(self: &Arc<Self>) -> Vec<String> {
        let in_force = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || in_force.changes());
        looked.await.unwrap_or_default()
    }

    /// The id of the OAuth client.
    pub fn client_id(&self) -> &str {
        &self.client.id
    }

    /// How many agents an owner may have for a client of that owner to add one.
    pub fn agents_per_owner(&self) -> usize {
        let admin = self.config.admin.as_ref();
        admin.map_or(usize::MAX, |admin| admin.agents_per_owner)
    }

    fn compared(&self, fresh: &Config, client: &OAuthClient) -> Vec<String> {
        let mut keys = self.config.changed_keys(fresh);
        let seal = self.seal_beside(&fresh.key);
        if seal != SealOnDisk::OtherSettings {
            keys.retain(|key| !key.starts_with("key.") || key == "key.keep_days");
        }
        // The file that holds it is the same, and what is in it is another.
        let named = keys.iter().any(|key| key.starts_with("google.client_"));
        if !named && self.client.secret != client.secret {
            keys.push("the client secret".to_owned());
        }
        let file = self.config.file.shown();
        // Where there is no listener yet, that takes a restart, and all of it with it.
        let serves = self.config.admin.is_some();
        let others = (serves && *self.admin_clients() != fresh.admin_clients()).then(|| {
            format!(
                "[[admin.clients]] was changed on disk since the daemon read it: send it SIGHUP to apply it ({file})"
            )
        });
        let seal = match seal {
            SealOnDisk::Another(sentence) => Some(sentence),
            SealOnDisk::InForce | SealOnDisk::OtherSettings => None,
        };
        let others = others.into_iter().chain(seal);
        if keys.is_empty() {
            return others.collect();
        }
        let (verb, it) = if keys.len() == 1 {
            ("was", "it")
        } else {
            ("were", "them")
        };
        let restart = format!(
            "{} {verb} changed on disk since the daemon was started: restart the daemon to apply {it} ({file})",
            keys.join(", ")
        );
        std::iter::once(restart).chain(others).collect()
    }
}

impl Config {
    /// Who may call over TLS: nobody, where there is no `[admin]`.
    pub fn admin_clients(&self) -> &[AdminClient] {
        self.admin.as_ref().map_or(&[], |admin| &admin.clients)
    }

    /// The keys whose values in `fresh`, read later, take a restart. Those that a variable sets are no such, and neither
    /// are those that a running daemon takes over.
    pub fn changed_keys(&self, fresh: &Self) -> Vec<String> {
        let mut keys = Written::differences(&self.written, &fresh.written);
        keys.retain(|path| KEYS.find(path).is_none_or(|key| !key.is_live));
        let mut keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
        if !self.google.has_same_secret(&fresh.google)
            && !keys.iter().any(|key| key.starts_with("google.client_s"))
        {
            keys.push("google.client_secret".to_owned());
        }
        if self.providers != fresh.providers {
            keys.push("[[providers]]".to_owned());
        }
        if self.capabilities != fresh.capabilities {
            keys.push("[[capabilities]]".to_owned());
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::*;

    const BEFORE: &str = "http_listen = '127.0.0.1:0'\n[google]\nclient_id = 'one'\nclient_secret_file = 'secret'\n\
                          [log]\nlevel = 'info'\n";

    fn put(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn what_takes_a_restart_is_named_without_its_value() {
        let dir = tempfile::tempdir().unwrap();
        let (file, secret) = (dir.path().join("config.toml"), dir.path().join("secret"));
        put(&file, BEFORE);
        put(&secret, "GOCSPX-canary-canary-canary");
        let config = Config::load(Some(&file), std::iter::empty()).ok().unwrap();
        let in_force = InForce::new(&config).ok().unwrap();
        let changes = || in_force.changes().join("\n");
        let changed = |keys: &str| {
            format!("{keys} changed on disk since the daemon was started: restart the daemon to apply ")
        };
        assert_eq!(changes(), "");
        // What means the same, and what is applied without a restart, is no change.
        let same = format!(
            "state_dir = '/var/lib/token-broker'\n# A remark.\n{}",
            BEFORE.replace("'info'", "'debug'")
        );
        put(&file, &same);
        assert_eq!(changes(), "");
        put(&secret, "GOCSPX-canary-canary-other");
        assert!(
            changes().starts_with(&changed("the client secret was")),
            "{}",
            changes()
        );
        put(&file, &BEFORE.replace("'one'", "'two'").replace(":0'", ":1'"));
        assert!(
            changes().starts_with(&changed("google.client_id, http_listen were")),
            "{}",
            changes()
        );
        put(
            &file,
            &BEFORE.replace(
                "client_secret_file = 'secret'",
                "client_secret = 'GOCSPX-canary-canary-third'",
            ),
        );
        assert!(
            changes().starts_with(&changed("google.client_secret_file was")),
            "{}",
            changes()
        );
        put(
            &file,
            &format!("{BEFORE}[[capabilities]]\nkey = 'google.x'\ntitle = 'X'\nscopes = ['https://x/y']\n"),
        );
        put(&secret, "GOCSPX-canary-canary-canary");
        assert!(
            changes().starts_with(&changed("[[capabilities]] was")),
            "{}",
            changes()
        );
        put(&file, "http_listenn = 1\n");
        assert!(
            changes().contains("would refuse the configuration"),
            "{}",
            changes()
        );
        fs::remove_file(&file).unwrap();
        assert!(changes().contains("there is no such file"), "{}", changes());
        assert!(!changes().contains("canary"));
    }

    #[test]
    fn clients_that_were_not_read_again_are_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        let before = "[google]\nclient_id = 'one'\nclient_type = 'desktop'\n[admin]\nlisten = '127.0.0.1:0'\n\
                      certificate_file = 'a'\nkey_file = 'b'\nclient_ca_file = 'c'\n";
        put(&file, before);
        let load = || Config::load(Some(&file), std::iter::empty()).ok().unwrap();
        let in_force = InForce::new(&load()).ok().unwrap();
        put(
            &file,
            &format!("{before}[[admin.clients]]\nname = 'x'\nrole = 'viewer'\n"),
        );
        let said = in_force.changes();
        assert!(said.len() == 1 && said[0].contains("send it SIGHUP"), "{said:?}");
        in_force.note_admin_clients(&load().admin.unwrap().clients);
        assert_eq!(in_force.changes(), [""; 0]);
        put(&file, before);
        assert!(in_force.changes()[0].starts_with("[[admin.clients]] was changed"));
        // Without the section they are taken off all the same, and the listener goes with the next start.
        let (without, _) = before.split_once("[admin]").unwrap();
        put(&file, without);
        let said = in_force.changes();
        let listener =
            "admin.certificate_file, admin.client_ca_file, admin.key_file, admin.listen were changed";
        assert!(said[0].starts_with(listener), "{said:?}");
        assert!(said[1].contains("send it SIGHUP"), "{said:?}");
        in_force.note_admin_clients(load().admin_clients());
        assert_eq!(in_force.changes(), said[..1]);
    }

    #[test]
    fn what_a_variable_says_is_not_compared_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        put(&file, "[google]\nclient_id = 'one'\nclient_type = 'desktop'\n");
        let env = [("TOKEN_BROKER_GOOGLE_CLIENT_ID".into(), "other".into())];
        let config = Config::load(Some(&file), env.into_iter()).ok().unwrap();
        let in_force = InForce::new(&config).ok().unwrap();
        assert_eq!(in_force.changes(), [""; 0]);
    }
}
