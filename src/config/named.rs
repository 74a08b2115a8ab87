//! The files that the configuration names.

use std::path::{Path, PathBuf};

use super::{Config, key_source::KeySource};

impl Config {
    /// Every file and folder that it names and the daemon does not make itself: the file it came from, manifests, secrets,
    /// certificates, authorities, and the sockets of others.
    pub fn named_files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.file.clone(), self.agents_dir()];
        files.extend(self.key.sources().filter_map(KeySource::path));
        if let Some(transit) = &self.key.transit {
            files.push(transit.token_file.clone());
            files.extend(transit.ca_file.clone());
        }
        files.extend(self.google.secret_file().map(Path::to_owned));
        for provider in &self.providers {
            files.extend(provider.files());
        }
        if let Some(store) = &self.store {
            files.extend(store.files());
        }
        if let Some(api) = &self.kubernetes.api {
            files.extend([api.ca_file.clone(), api.token_file.clone()]);
        }
        if let Some(csi) = &self.csi {
            files.push(csi.endpoint.clone());
            files.extend(csi.registration.clone());
        }
        if let Some(remote) = &self.remote {
            files.extend([remote.certificate_file.clone(), remote.key_file.clone()]);
            files.extend(remote.client_ca_file.clone());
        }
        if let Some(upstream) = &self.upstream {
            files.extend([upstream.certificate_file.clone(), upstream.key_file.clone()]);
            files.extend(upstream.ca_file.clone());
        }
        if let Some(admin) = &self.admin {
            files.extend([
                admin.certificate_file.clone(),
                admin.key_file.clone(),
                admin.client_ca_file.clone(),
            ]);
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{keys::KEYS, schema::Kind};

    #[test]
    fn every_key_that_is_a_path_is_among_them() {
        let own = ["state_dir", "runtime_dir"];
        let paths = KEYS.keys().filter(|key| matches!(key.kind, Kind::Path));
        let (nodes, paths): (Vec<_>, Vec<_>) = paths
            .map(|key| key.path)
            .partition(|path| path.starts_with("upstream."));
        let mut text = paths.iter().fold(String::new(), |text, path| {
            text + &format!("{path} = '/named/{path}'\n")
        });
        text += "key.source = 'file:/named/key'\n\
                 key.previous = ['kms:unix:///named/kms', 'transit:https://vault/v1/transit/keys/x']\n\
                 kubernetes.api_url = 'https://10.96.0.1'\n\
                 store.url = 'postgres://b@db-1/tokens?host=/named/sockets'\n\
                 remote.listen = '0.0.0.0:8443'\n\
                 admin.listen = '0.0.0.0:8444'\n\
                 [[providers]]\nid = 'corp'\ntype = 'oidc'\nclient_secret_file = '/named/corp'\n";
        let config = Config::from_parts(Path::new("/etc/x/c.toml"), Some(&text), std::iter::empty());
        let named = config.map_err(|error| error.to_string()).unwrap().named_files();
        for path in paths.into_iter().chain(["key", "kms", "corp", "sockets"]) {
            let file = Path::new("/named").join(path);
            assert_eq!(named.contains(&file), !own.contains(&path), "{path}");
        }
        let text = nodes
            .iter()
            .fold("upstream.url = 'https://b'\n".to_owned(), |text, path| {
                text + &format!("{path} = '/named/{path}'\n")
            });
        let config = Config::from_parts(Path::new("/etc/x/c.toml"), Some(&text), std::iter::empty());
        let of_a_node = config.map_err(|error| error.to_string()).unwrap().named_files();
        for path in nodes {
            assert!(of_a_node.contains(&Path::new("/named").join(path)), "{path}");
        }
        assert!(named.contains(&"/etc/x/c.toml".into()) && named.contains(&"/etc/x/agents.d".into()));
    }
}
