//! TLS towards the database: its certificate is checked, with its name, and one of the broker's own is shown where there is one.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use zeroize::Zeroizing;

use crate::{
    config::{ConfigError, StoreSection},
    file,
    text::ShowPath,
};

const MOST: usize = 1024 * 1024;

/// How a connection that is made now is secured: by its files as they are now.
pub(super) fn connector(section: &StoreSection) -> Result<MakeRustlsConnect, ConfigError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &section.ca_file {
        let certificates = CertificateDer::pem_slice_iter(&read(path)?)
            .flatten()
            .collect::<Vec<_>>();
        if roots.add_parsable_certificates(certificates).0 == 0 {
            return Err(unfit(path, "it has no certificate in PEM"));
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::new(error.to_string()))?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &section.certificate else {
        return Ok(MakeRustlsConnect::new(builder.with_no_client_auth()));
    };
    let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
        .flatten()
        .collect();
    let secret =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| unfit(key, &error.to_string()))?;
    let config = builder.with_client_auth_cert(chain, secret);
    let config = config.map_err(|error| unfit(certificate, &error.to_string()))?;
    Ok(MakeRustlsConnect::new(config))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
    file::read_whole(path, MOST).map_err(|error| unfit(path, &error.to_string()))
}

fn unfit(path: &Path, why: &str) -> ConfigError {
    ConfigError::new(format!("{}: {why}", path.shown()))
}
