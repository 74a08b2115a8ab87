//! `[store]` and `[cluster]`: where the records are kept, where that is not a file in `state_dir`.

use std::path::PathBuf;

use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use zeroize::Zeroizing;

use super::{
    error::ConfigError,
    schema::{Key, Kind, Section, Unset},
    secret_file::{self, Access},
    values::Values,
};
use crate::text::ShowPath;

/// The keys of `[store]`.
pub(super) const SECTION: Section = Section {
    name: "store",
    about: "Where accounts, agents, tokens and the audit trail are kept. Without it: an SQLite database in state_dir",
    keys: &[
        Key {
            path: "store.url",
            kind: Kind::Text,
            unset: Unset::Nothing("postgres://broker@db-1,db-2/tokens?sslmode=verify-full"),
            doc: "A PostgreSQL database, for this daemon alone. Of several hosts the one is used that takes changes. `sslmode` is\n\
                  `verify-full`, which needs ca_file, or `disable`, for a Unix socket (`?host=/run/postgresql`) or loopback.\n\
                  A password does not belong here but into password_file.",
            ..Key::USUAL
        },
        Key {
            path: "store.password_file",
            kind: Kind::Path,
            unset: Unset::Nothing("/etc/token-broker/database-password"),
            doc: "The file with the database user's password, which nobody else may read. It is read for each connection.",
            ..Key::USUAL
        },
        Key {
            path: "store.ca_file",
            kind: Kind::Path,
            unset: Unset::Nothing("/etc/token-broker/database-ca.crt"),
            doc: "The authorities of the database's certificate, in PEM. It is read for each connection.",
            ..Key::USUAL
        },
        Key {
            path: "store.certificate_file",
            kind: Kind::Path,
            unset: Unset::Nothing("/etc/token-broker/database.crt"),
            doc: "The certificate that the daemon shows the database, in PEM; with key_file.",
            ..Key::USUAL
        },
        Key {
            path: "store.key_file",
            kind: Kind::Path,
            unset: Unset::Nothing("/etc/token-broker/database.key"),
            doc: "That certificate's private key, in PEM.",
            ..Key::USUAL
        },
    ],
};

/// The keys of `[cluster]`.
pub(super) const CLUSTER: Section = Section {
    name: "cluster",
    about: "This broker among those at one database",
    keys: &[Key {
        path: "cluster.name",
        kind: Kind::Text,
        unset: Unset::Nothing("broker-1"),
        doc: "The broker's name, a DNS label that no other broker at the database has. Its lines in the audit trail are under\n\
              it. Without it: the machine's host name.",
        ..Key::USUAL
    }],
};

/// `[store]`, where it names a database.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreSection {
    /// Where the database is, and who asks; without a password.
    pub server: tokio_postgres::Config,
    /// The same for people.
    pub shown: String,
    /// Whether it is reached over TLS.
    pub tls: bool,
    password_file: Option<PathBuf>,
    /// The authorities of its certificate.
    pub ca_file: Option<PathBuf>,
    /// What is shown to it: a certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// `cluster.name`, or the host's.
    pub broker: String,
}

impl StoreSection {
    pub(super) fn read(values: &Values) -> Result<Option<Self>, ConfigError> {
        let files =
            ["password_file", "ca_file", "certificate_file", "key_file"].map(|key| format!("store.{key}"));
        let Some(url) = values.text("store.url")? else {
            for key in files.iter().chain([&"cluster.name".to_owned()]) {
                if values.text(key)?.is_some() {
                    return Err(values.wrong_because(key, "it goes with store.url, which is not set"));
                }
            }
            return Ok(None);
        };
        // Its value is not repeated: it may have a password.
        let wrong = |why: &str| ConfigError::new(format!("{}: {why}", values.place("store.url")));
        let (server, tls) = parse(&url).map_err(|why| wrong(&why))?;
        let [password_file, ca_file, certificate, key] = files.map(|key| values.path(&key));
        let (ca_file, certificate, key) = (ca_file?, certificate?, key?);
        if tls && ca_file.is_none() {
            return Err(wrong(
                "sslmode=verify-full needs store.ca_file: the authorities of the database's certificate, or the system's \
                 (/etc/ssl/certs/ca-certificates.crt on Debian)",
            ));
        }
        let certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                return Err(ConfigError::new(
                    "store.certificate_file and store.key_file go together: set both, or neither".to_owned(),
                ));
            }
        };
        Ok(Some(Self {
            shown: shown(&server),
            server,
            tls,
            password_file: password_file?,
            ca_file,
            certificate,
            broker: broker(values)?,
        }))
    }

    /// What it names: files, and the folders of sockets.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let sockets = self.server.get_hosts().iter().filter_map(|host| match host {
            Host::Unix(folder) => Some(folder.clone()),
            Host::Tcp(_) => None,
        });
        let certificate = self
            .certificate
            .iter()
            .flat_map(|(certificate, key)| [certificate, key]);
        let files = self.password_file.iter().chain(&self.ca_file).chain(certificate);
        files.cloned().chain(sockets).collect()
    }

    /// The password as its file has it now; `None` where there is no such file in the configuration.
    ///
    /// # Errors
    /// A file that cannot be read, or that others may read.
    pub fn password(&self) -> Result<Option<Zeroizing<String>>, ConfigError> {
        let Some(path) = &self.password_file else {
            return Ok(None);
        };
        let access = Access::of(path, std::env::var_os("CREDENTIALS_DIRECTORY").as_deref());
        let read = secret_file::read(path, access);
        read.map(Some)
            .map_err(|error| ConfigError::new(format!("store.password_file {}: {error}", path.shown())))
    }
}

/// The server of a URL, and whether it is reached over TLS.
fn parse(url: &str) -> Result<(tokio_postgres::Config, bool), String> {
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
    {
        return Err("it begins with postgres://".to_owned());
    }
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut mode, mut kept) = (None, Vec::new());
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value),
            Some(("password", _)) => return Err(PASSWORD.to_owned()),
            _ => kept.push(part),
        }
    }
    let parsed = format!("{place}?{}", kept.join("&")).parse::<tokio_postgres::Config>();
    let mut server = parsed.map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        source.unwrap_or_else(|| error.to_string())
    })?;
    if server.get_password().is_some() {
        return Err(PASSWORD.to_owned());
    }
    if server.get_hosts().is_empty() {
        return Err("it names no host: postgres://user@host/database, or ?host=/run/postgresql".to_owned());
    }
    if server.get_target_session_attrs() == TargetSessionAttrs::ReadOnly {
        return Err("target_session_attrs=read-only: a broker reads and writes the primary alone".to_owned());
    }
    let is_near = server.get_hosts().iter().all(is_near);
    let tls = match mode {
        Some("verify-full") => true,
        None => !is_near,
        Some("disable") if is_near => false,
        Some("disable") => {
            return Err(
                "sslmode=disable is for a Unix socket and loopback alone: sslmode=verify-full".to_owned(),
            );
        }
        Some(other) => {
            return Err(format!(
                "sslmode={other}: `verify-full` and `disable` alone, since the others are open to who is in between"
            ));
        }
    };
    server.ssl_mode(if tls { SslMode::Require } else { SslMode::Disable });
    server.target_session_attrs(TargetSessionAttrs::ReadWrite);
    Ok((server, tls))
}

const PASSWORD: &str = "it has a password, which would be read by everybody who sees the configuration: write it into a file and \
                        name that in store.password_file";

fn is_near(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
    }
}

fn shown(server: &tokio_postgres::Config) -> String {
    let hosts = server.get_hosts().iter().enumerate().map(|(place, host)| {
        let name = match host {
            Host::Unix(path) => path.display().to_string(),
            Host::Tcp(name) => name.clone(),
        };
        let ports = server.get_ports();
        match ports.get(place).or_else(|| ports.first()) {
            Some(port) if *port != 5432 => format!("{name}:{port}"),
            _ => name,
        }
    });
    let hosts: Vec<_> = hosts.collect();
    format!(
        "postgres://{}/{}",
        hosts.join(","),
        server.get_dbname().unwrap_or_default()
    )
}

/// The broker's name.
fn broker(values: &Values) -> Result<String, ConfigError> {
    let is_label = |name: &str| {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&name.len())
            && name.bytes().all(fits)
            && !name.starts_with('-')
            && !name.ends_with('-')
    };
    if let Some(name) = values.text("cluster.name")? {
        return is_label(&name).then_some(name).ok_or_else(|| {
            values.wrong_because(
                "cluster.name",
                "a DNS label: 1 to 63 lower-case letters, digits and hyphens",
            )
        });
    }
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().to_ascii_lowercase();
    let label = name.split('.').next().unwrap_or_default().to_owned();
    is_label(&label).then_some(label).ok_or_else(|| {
        ConfigError::new(
            "the machine's host name is no DNS label: set cluster.name, which is unique at the database"
                .to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        parse(url).err().unwrap_or_default()
    }

    #[test]
    fn a_server_elsewhere_is_reached_over_tls_and_one_nearby_need_not() {
        for (url, tls, named) in [
            (
                "postgres://b@db-1,db-2/tokens?sslmode=verify-full",
                true,
                "postgres://db-1,db-2/tokens",
            ),
            (
                "postgresql://b@db-1:6432/tokens",
                true,
                "postgres://db-1:6432/tokens",
            ),
            (
                "postgres://b@localhost/tokens",
                false,
                "postgres://localhost/tokens",
            ),
            (
                "postgres:///tokens?host=/run/postgresql&user=b",
                false,
                "postgres:///run/postgresql/tokens",
            ),
            (
                "postgres://b@127.0.0.1/tokens?sslmode=disable",
                false,
                "postgres://127.0.0.1/tokens",
            ),
        ] {
            let (server, over_tls) = parse(url).unwrap_or_else(|why| panic!("{url}: {why}"));
            assert_eq!((over_tls, shown(&server).as_str()), (tls, named), "{url}");
            assert_eq!(server.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        }
        for (url, why) in [
            ("postgres://b@db-1/tokens?sslmode=disable", "loopback alone"),
            (
                "postgres://b@localhost,db-2/tokens?sslmode=disable",
                "loopback alone",
            ),
            ("postgres://b@db-1/tokens?sslmode=require", "verify-full"),
            (
                "postgres://b@db-1/tokens?target_session_attrs=read-only",
                "primary alone",
            ),
            ("postgres:///tokens", "names no host"),
            ("mysql://b@db-1/tokens", "postgres://"),
            ("postgres://b@db-1/tokens?unheard_of=1", "unheard_of"),
        ] {
            assert!(refused(url).contains(why), "{url}: {}", refused(url));
        }
    }

    #[test]
    fn a_password_does_not_belong_into_the_url() {
        for url in [
            "postgres://b:geheim@db-1/tokens",
            "postgres://b@db-1/tokens?password=geheim",
        ] {
            assert!(refused(url).contains("store.password_file"), "{url}");
            assert!(!refused(url).contains("geheim"), "{url}");
        }
    }
}
