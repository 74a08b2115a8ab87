//! The certificate authorities that a client trusts. They are looked at when a connection is made, so that a bundle that is
//! replaced counts without a restart.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{
    file,
    followed::{Followed, folder},
    text::{ShowPath, without_bom},
};

/// Many times what a system trusts.
const MAX_BUNDLE: usize = 16 * 1024 * 1024;
/// A file with authorities in PEM, as OpenSSL has it.
const FILE: &str = "SSL_CERT_FILE";
/// Folders with such files, separated by colons.
const FOLDERS: &str = "SSL_CERT_DIR";

/// Whom a client trusts. Clones share what was read.
#[derive(Clone)]
pub(crate) struct Authorities(Arc<Followed<ClientConfig>>);

/// Where authorities are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Where the environment or the configuration says.
    Named {
        file: Option<PathBuf>,
        folders: Vec<PathBuf>,
    },
    /// Where this system keeps them.
    System,
}

impl Place {
    fn files_and_folders(&self) -> (Option<PathBuf>, Vec<PathBuf>) {
        match self.clone() {
            Self::Named { file, folders } => (file, folders),
            Self::System => {
                let found = openssl_probe::probe();
                (found.cert_file, found.cert_dir)
            }
        }
    }

    fn all(&self) -> Vec<PathBuf> {
        let (file, folders) = self.files_and_folders();
        file.into_iter().chain(folders).collect()
    }

    /// Every authority there.
    fn read(&self) -> Result<RootCertStore, String> {
        let (file, folders) = self.files_and_folders();
        let mut roots = RootCertStore::empty();
        if let Some(file) = &file
            && add(&mut roots, file)? == 0
        {
            return Err(format!("{} holds no certificate in PEM", file.shown()));
        }
        let mut seen = HashSet::new();
        for path in folders.iter().flat_map(|place| folder(place)) {
            let Ok(found) = fs::metadata(&path) else {
                continue;
            };
            // A folder's files have several names each.
            if found.is_file() && seen.insert((found.dev(), found.ino())) {
                add(&mut roots, &path)?;
            }
        }
        if roots.is_empty() {
            let places: Vec<_> = self.all().iter().map(|path| path.shown().to_string()).collect();
            return Err(match places.as_slice() {
                [] => "this system has no bundle of certificates".to_owned(),
                places => format!("there is no certificate in {}", places.join(", ")),
            });
        }
        Ok(roots)
    }
}

/// Adds the authorities in a file, and says how many there are.
fn add(roots: &mut RootCertStore, path: &Path) -> Result<usize, String> {
    let pem =
        file::read(path, MAX_BUNDLE).map_err(|error| format!("{} cannot be read: {error}", path.shown()))?;
    let certificates = CertificateDer::pem_slice_iter(without_bom(&pem)).flatten();
    Ok(roots.add_parsable_certificates(certificates).0)
}

impl Default for Authorities {
    /// Those of this system.
    fn default() -> Self {
        Self::at(Place::System)
    }
}

impl Authorities {
    /// Those that the environment names, or else this system's.
    pub(crate) fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        Self::at(place(variable))
    }

    /// Those in a file.
    pub(crate) fn in_file(file: &Path) -> Self {
        Self::at(Place::Named {
            file: Some(file.to_owned()),
            folders: Vec::new(),
        })
    }

    fn at(place: Place) -> Self {
        let places = place.clone();
        Self(Arc::new(Followed::new(
            "the bundle of certificate authorities",
            move || places.all(),
            move || {
                let roots = place.read()?;
                trusting(roots).map_err(|error| error.to_string())
            },
        )))
    }

    /// Exactly these.
    #[cfg(test)]
    pub(super) fn fixed(certificates: Vec<CertificateDer<'static>>) -> Self {
        Self(Arc::new(Followed::new("these", Vec::new, move || {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates.clone());
            trusting(roots).map_err(|error| error.to_string())
        })))
    }

    /// How a connection that is made now is checked.
    ///
    /// # Errors
    /// A sentence, where nobody is trusted.
    pub(crate) async fn current(&self) -> Result<Arc<ClientConfig>, String> {
        self.0.current().await
    }
}

/// The files and folders that they are read from.
pub(crate) fn places(variable: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    place(variable).all()
}

fn place(variable: impl Fn(&str) -> Option<String>) -> Place {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let file = set(FILE).map(PathBuf::from);
    let folders: Vec<PathBuf> = set(FOLDERS).map_or_else(Vec::new, |folders| {
        std::env::split_paths(&folders)
            .filter(|folder| !folder.as_os_str().is_empty())
            .collect()
    });
    if file.is_none() && folders.is_empty() {
        Place::System
    } else {
        Place::Named { file, folders }
    }
}

fn trusting(roots: RootCertStore) -> io::Result<ClientConfig> {
    Ok(tls_builder()?.with_root_certificates(roots).with_no_client_auth())
}

/// Trusts nobody: for what speaks plain HTTP.
pub(super) fn nobody() -> io::Result<ClientConfig> {
    trusting(RootCertStore::empty())
}

fn tls_builder() -> io::Result<ConfigBuilder<ClientConfig, WantsVerifier>> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::http_client::testing::pem;

    fn authority() -> String {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["authority".to_owned()]).unwrap();
        pem("CERTIFICATE", params.self_signed(&key).unwrap().der())
    }

    async fn count(authorities: &Authorities) -> Result<(), String> {
        authorities.current().await.map(drop)
    }

    #[test]
    fn the_environment_says_where_they_are() {
        let of = |file: &str, folders: &str| {
            place(|name| match name {
                FILE => Some(file.to_owned()),
                FOLDERS => Some(folders.to_owned()),
                _ => None,
            })
        };
        assert_eq!(of("", ""), Place::System);
        assert_eq!(place(|_| None), Place::System);
        assert_eq!(
            of("/a.pem", "/b:/c:"),
            Place::Named {
                file: Some("/a.pem".into()),
                folders: vec!["/b".into(), "/c".into()],
            }
        );
    }

    #[test]
    fn every_form_of_a_bundle_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bundle.pem");
        let place = Place::Named {
            file: Some(file.clone()),
            folders: Vec::new(),
        };
        let (one, two) = (authority(), authority());
        for (text, count) in [
            (format!("{one}{two}"), 2),
            (format!("\u{feff}{one}"), 1),
            (one.replace('\n', "\r\n"), 1),
            (format!("# Ours\nsubject=CN\n{one}\n\nnothing\n{two}"), 2),
            (
                format!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n{one}"),
                1,
            ),
        ] {
            fs::write(&file, &text).unwrap();
            assert_eq!(place.read().unwrap().len(), count, "{text}");
        }
        for bad in ["", "\u{feff}", "nothing"] {
            fs::write(&file, bad).unwrap();
            let said = place.read().unwrap_err();
            assert!(said.ends_with("bundle.pem holds no certificate in PEM"), "{said}");
        }
        fs::remove_file(&file).unwrap();
        let said = place.read().unwrap_err();
        assert!(said.contains("bundle.pem cannot be read"), "{said}");
    }

    #[tokio::test]
    async fn a_folder_may_become_whole_later() {
        let dir = tempfile::tempdir().unwrap();
        let authorities = Authorities::at(Place::Named {
            file: None,
            folders: vec![dir.path().to_owned()],
        });
        let said = count(&authorities).await.unwrap_err();
        assert!(said.starts_with("there is no certificate in /"), "{said}");
        fs::write(dir.path().join("README"), "not one").unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("0a1b.0"), authority()).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("dangling.0")).unwrap();
        count(&authorities).await.unwrap();
    }
}
