//! The configuration file and its environment variables.
//!
//! Each section is a file: a table of its keys (`schema` says what a row holds), and the code that reads them. `sources`
//! collects what the file and the environment say, with where it came from. Each section then takes its own through
//! `values`, checks it, and names key, value and place of what it cannot use. `template` makes the file that `init` writes
//! from the same tables, and `reference` makes `docs/src/reference/configuration.md`.

pub mod adc;
pub mod admin;
pub mod audit;
mod base;
pub mod capabilities;
mod client_secret;
pub mod connect;
pub mod console;
pub mod csi;
pub mod error;
mod exposure;
#[cfg(fuzzing)]
pub mod fuzz;
pub mod google;
mod group;
mod helper;
mod in_force;
pub mod key;
mod key_source;
mod keys;
pub mod kubernetes;
mod kubernetes_service;
pub mod log;
pub mod metadata;
mod named;
mod places;
pub mod providers;
#[cfg(test)]
mod reference;
pub mod remote;
pub mod renewal;
pub mod risc;
mod role;
pub mod sandbox;
mod schema;
mod secret_file;
mod sources;
pub mod store;
pub(crate) mod suggest;
mod table;
pub mod template;
mod toml_error;
mod transit;
mod twice;
pub mod upstream;
mod urls;
mod values;
pub mod way;
pub mod writers;
mod written;

use std::{
    ffi::OsString,
    io::{ErrorKind, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use url::Url;
use zeroize::Zeroizing;

pub use adc::AdcSection;
pub use admin::{Access, AdminClient, AdminSection, Role};
pub use audit::AuditSection;
pub use base::DEFAULT_RUNTIME_DIR;
pub use capabilities::CapabilityEntry;
pub use connect::ConnectSection;
pub use console::{ConsoleSection, ProxySection};
pub use csi::CsiSection;
pub use error::ConfigError;
pub use google::{ClientType, GoogleSection, OAuthClient};
pub use in_force::InForce;
pub use key::KeySection;
pub use key_source::KeySource;
pub use keys::is_secret;
pub use kubernetes::{KubernetesApi, KubernetesSection, TaintSection};
pub use log::{LogFormat, LogSection};
pub use metadata::{MetadataPort, MetadataSection};
pub use providers::ProviderEntry;
pub use remote::RemoteSection;
pub use renewal::RenewalSection;
pub use risc::RiscSection;
pub use sandbox::SandboxSection;
pub use schema::variable;
pub use store::StoreSection;
pub use template::template;
pub use transit::TransitSection;
pub use upstream::UpstreamSection;

use crate::{address, text, text::ShowPath};

use base::Base;
use keys::KEYS;
use schema::VARIABLE_PREFIX;
use sources::Sources;
use values::Values;
use written::Written;

/// Where the configuration file is unless told otherwise.
pub const DEFAULT_FILE: &str = "/etc/token-broker/config.toml";

const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The whole configuration, checked. No `Debug`: it may hold the client's secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// The file it came from; it may not exist when everything came from the environment.
    pub file: PathBuf,
    /// Where the database lives.
    pub state_dir: PathBuf,
    /// Where sockets and agents' directories are.
    pub runtime_dir: PathBuf,
    /// Where HTTP is served.
    pub http_listen: SocketAddr,
    /// How a browser reaches it.
    pub public_url: Url,
    /// `[key]`.
    pub key: KeySection,
    /// `[store]`, where a database keeps the records and no file does.
    pub store: Option<StoreSection>,
    /// `[google]`.
    pub google: GoogleSection,
    /// `[log]`.
    pub log: LogSection,
    /// `[renewal]`.
    pub renewal: RenewalSection,
    /// `[audit]`.
    pub audit: AuditSection,
    /// `[connect]`.
    pub connect: ConnectSection,
    /// `[console]`.
    pub console: ConsoleSection,
    /// `[adc]`, where credential files are to be written.
    pub adc: Option<AdcSection>,
    /// `[metadata]`.
    pub metadata: MetadataSection,
    /// `[risc]`.
    pub risc: RiscSection,
    /// `[sandbox]`.
    pub sandbox: SandboxSection,
    /// `[kubernetes]`.
    pub kubernetes: KubernetesSection,
    /// `[csi]`, where there is to be a CSI driver.
    pub csi: Option<CsiSection>,
    /// `[remote]`, where sidecars are to be served over TLS.
    pub remote: Option<RemoteSection>,
    /// `[admin]`, where `AdminService` is to be served over TLS.
    pub admin: Option<AdminSection>,
    /// `[upstream]`, where this daemon is a node.
    pub upstream: Option<UpstreamSection>,
    /// `[[providers]]`: who gives tokens besides Google.
    pub providers: Vec<ProviderEntry>,
    /// `[[capabilities]]`: the operator's additions to the catalogue.
    pub capabilities: Vec<CapabilityEntry>,
    derived: Derived,
    /// What was written, key by key.
    written: Written,
    /// There is a file.
    has_file: bool,
    warnings: Vec<String>,
}

/// Which URLs follow from `http_listen`.
#[derive(Clone, PartialEq, Eq)]
struct Derived {
    public_url: bool,
    redirect_uri: bool,
}

/// What the path of a Unix socket may have in bytes (`sun_path` of unix(7), without its end), less what its name has more
/// while it is made.
const SOCKET_PATH: usize = 107 - 5;

/// Refuses a key whose socket could not be made, or not be connected to.
fn socket_fits(key: &str, path: &Path) -> Result<(), ConfigError> {
    let bytes = path.as_os_str().len();
    if bytes <= SOCKET_PATH {
        return Ok(());
    }
    Err(ConfigError::new(format!(
        "{key} is too long: the socket's path {} has {bytes} bytes, and may have {SOCKET_PATH}; choose a shorter one, such \
         as a folder under /run",
        path.shown()
    )))
}

impl Config {
    /// The configuration as it is on disk now, where this one was read. Variables of a process are what they were at its start.
    pub fn on_disk(&self) -> Result<Self, ConfigError> {
        let named = (self.has_file || self.file.exists()).then_some(self.file.as_path());
        Self::load(named, environment())
    }

    /// Reads the file and the environment; the environment wins. Without `path` the file at
    /// [`DEFAULT_FILE`] is read if it exists; a file that was named must exist.
    pub fn load(
        path: Option<&Path>,
        env: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let env = readable(env)?;
        let file = path.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match read_file(file) {
            Err(error) if error.kind() == ErrorKind::NotFound && path.is_none() => None,
            result => Some(result.map_err(|error| ConfigError::in_file(file, unreadable(&error)))?),
        };
        let absolute =
            std::path::absolute(file).map_err(|error| ConfigError::in_file(file, error.to_string()))?;
        Self::from_parts(
            &absolute,
            text.as_ref().map(|text| text.as_str()),
            env.into_iter(),
        )
    }

    /// Refuses to go on without a file where nothing else says where the master key is: a new key would be of no use then.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn check_is_there(&self) -> Result<(), ConfigError> {
        match &self.key.source {
            // A node has no key.
            _ if self.upstream.is_some() => Ok(()),
            KeySource::File(key) if !self.has_file && !key.exists() => Err(ConfigError::new(format!(
                "there is no {}: name yours with --config, or write one with `token-broker init`",
                self.file.shown()
            ))),
            _ => Ok(()),
        }
    }

    fn from_parts(
        file: &Path,
        text: Option<&str>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut sources = Sources::new(file, KEYS);
        sources.read_file(text.unwrap_or_default())?;
        sources.read_env(env)?;
        let capabilities = match &sources.capabilities_variable {
            Some(value) => capabilities::from_variable(value)?,
            None => capabilities::from_file(file, text.unwrap_or_default())?,
        };
        let mut values = Values::new(sources);
        let base = Base::read(&values)?;
        let derived = Derived {
            public_url: base.public_url.is_none(),
            redirect_uri: values.text("google.redirect_uri")?.is_none(),
        };
        let public_url = match base.public_url {
            Some(url) => url,
            None => urls::local("http_listen", base.http_listen)?,
        };
        let kubernetes = KubernetesSection::read(&values)?;
        let admin_clients = admin::clients(file, text.unwrap_or_default())?;
        let providers = providers::from_file(file, text.unwrap_or_default())?;
        let lists = [
            ("[[admin.clients]]", !admin_clients.is_empty()),
            ("[[providers]]", !providers.is_empty()),
            ("[[capabilities]]", !capabilities.is_empty()),
        ];
        role::check(&values, &lists)?;
        let config = Self {
            file: file.to_owned(),
            state_dir: base.state_dir,
            runtime_dir: base.runtime_dir,
            http_listen: base.http_listen,
            key: KeySection::read(&values)?,
            store: StoreSection::read(&values)?,
            log: LogSection::read(&values)?,
            renewal: RenewalSection::read(&values)?,
            audit: AuditSection::read(&values)?,
            connect: ConnectSection::read(&values)?,
            console: ConsoleSection::read(&values)?,
            adc: AdcSection::read(&values)?,
            metadata: MetadataSection::read(&values)?,
            risc: RiscSection::read(&values)?,
            sandbox: SandboxSection::read(&values)?,
            csi: CsiSection::read(&values, &kubernetes)?,
            remote: RemoteSection::read(&values, &kubernetes)?,
            kubernetes,
            admin: AdminSection::read(&values, admin_clients)?,
            upstream: UpstreamSection::read(&values)?,
            google: GoogleSection::read(&mut values, &public_url)?,
            public_url,
            providers,
            capabilities,
            derived,
            has_file: text.is_some(),
            written: Written::of(values.sources()),
            warnings: values.sources().warnings.clone(),
        };
        config.checked()
    }

    /// What no section sees by itself.
    fn checked(mut self) -> Result<Self, ConfigError> {
        let misplaced = places::check(&self.state_dir, &self.runtime_dir)?;
        self.warnings.extend(misplaced);
        socket_fits("runtime_dir", &self.runtime_dir.join("admin.sock"))?;
        if let Some(csi) = &self.csi {
            socket_fits("csi.endpoint", &csi.endpoint)?;
            let registration = csi.registration.as_deref();
            registration.map_or(Ok(()), |path| socket_fits("csi.registration", path))?;
        }
        let warning = self.risc.warning(self.google.client_id.as_deref());
        self.warnings.extend(warning);
        let plain = self.public_url.scheme() == "http";
        if plain && !address::is_loopback(self.http_listen.ip()) {
            self.warnings.push(format!(
                "http_listen {} is reachable from other machines and public_url is plain http: authorization \
                 codes travel unencrypted; put TLS in front and set public_url to its https address",
                self.http_listen
            ));
        }
        if plain && !address::is_at_loopback(&self.public_url) {
            self.warnings.push(format!(
                "public_url {} is plain http on a name that is not this machine: Google accepts only https as \
                 a redirect there",
                self.public_url
            ));
        }
        self.warnings
            .extend(self.adc.as_ref().and_then(AdcSection::warning));
        self.warnings
            .extend(self.admin.as_ref().and_then(AdminSection::warning));
        Ok(self)
    }

    /// The folder of the agents' manifests: `agents.d` beside the file.
    pub fn agents_dir(&self) -> PathBuf {
        self.file.with_file_name("agents.d")
    }

    /// What deserves attention and stops nothing.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Adds what deserves attention and was found out after the configuration was read.
    pub fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Takes over the address that was really bound (`http_listen` may say port 0) into the URLs that follow
    /// from it.
    pub fn bound(&mut self, address: SocketAddr) -> Result<(), ConfigError> {
        self.http_listen = address;
        if self.derived.public_url {
            self.public_url = urls::local("http_listen", address)?;
            if self.derived.redirect_uri {
                self.google.redirect_uri = self.page("oauth/callback");
            }
        }
        Ok(())
    }

    /// Takes over where the listeners for Google's libraries were really bound, for those that said port 0.
    pub fn bound_for_libraries(&mut self, adc: Option<SocketAddr>, metadata: Option<SocketAddr>) {
        let take = |listen: &mut SocketAddr, bound: Option<SocketAddr>| {
            *listen = bound.filter(|_| listen.port() == 0).unwrap_or(*listen);
        };
        if let Some(section) = &mut self.adc {
            take(&mut section.listen, adc);
        }
        if let Some(port) = &mut self.metadata.port {
            take(&mut port.listen, metadata);
        }
    }

    /// Takes over where sidecars are really served, where the section said port 0.
    pub fn bound_for_sidecars(&mut self, bound: Option<SocketAddr>) {
        if let (Some(section), Some(bound)) = (&mut self.remote, bound)
            && section.listen.port() == 0
        {
            section.listen = bound;
        }
    }

    /// Takes over where `AdminService` is really served over TLS, where the section said port 0.
    pub fn bound_for_admin(&mut self, bound: Option<SocketAddr>) {
        if let (Some(section), Some(bound)) = (&mut self.admin, bound)
            && section.listen.port() == 0
        {
            section.listen = bound;
        }
    }

    /// The URL of one of the daemon's pages, such as `oauth/callback`.
    pub fn page(&self, page: &str) -> Url {
        urls::below(&self.public_url, page)
    }
}

fn read_file(file: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::new());
    crate::file::input(file)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other(format!(
            "it is longer than {MAX_FILE_BYTES} bytes"
        )));
    }
    let text = text::of_file(&bytes).map_err(std::io::Error::other)?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn unreadable(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file: `token-broker init` writes one".to_owned(),
        _ => error.to_string(),
    }
}

/// The environment's variables.
pub fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

/// Those that are text. One of ours that is not is refused: without it another value would be in force.
fn readable(env: impl Iterator<Item = (OsString, OsString)>) -> Result<Vec<(String, String)>, ConfigError> {
    let text = |(name, value): (OsString, OsString)| {
        let name = name.into_string().ok()?;
        match value.into_string() {
            Ok(value) => Some(Ok((name, value))),
            Err(_) if name.starts_with(VARIABLE_PREFIX) => Some(Err(ConfigError::new(format!(
                "{name} holds bytes that are not UTF-8: set it to text"
            )))),
            Err(_) => None,
        }
    };
    env.filter_map(text).collect()
}

#[cfg(test)]
mod tests;
