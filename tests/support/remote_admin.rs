//! A daemon that serves `AdminService` over TLS.

use std::{fs, path::PathBuf};

use super::{Authority, Daemon, Emulator, replace};

/// What stands before the clients in the configuration.
const CLIENTS: &str = "\n# The clients\n";

impl Daemon {
    /// A daemon whose certificate, and whose clients', are of this authority. Nobody is its client yet.
    pub(crate) fn with_remote_admin(
        google: &Emulator,
        authority: &Authority,
        settings: &[(&str, &str)],
    ) -> Self {
        let listener = [
            ("admin.listen", "127.0.0.1:0"),
            ("admin.certificate_file", "admin-tls/tls.crt"),
            ("admin.key_file", "admin-tls/tls.key"),
            ("admin.client_ca_file", "admin-tls/ca.crt"),
        ];
        let daemon = Self::with(google, &[&listener, settings].concat());
        fs::create_dir(daemon.admin_tls()).unwrap();
        authority.server().put(&daemon.admin_tls(), "tls");
        fs::write(daemon.admin_ca(), &authority.pem).unwrap();
        daemon
    }

    /// The folder of its certificate.
    pub(crate) fn admin_tls(&self) -> PathBuf {
        self.config_dir().join("admin-tls")
    }

    /// The authorities of its clients' certificates.
    pub(crate) fn admin_ca(&self) -> PathBuf {
        self.admin_tls().join("ca.crt")
    }

    /// Writes the list of clients: names, and what each may do, in TOML. A daemon that runs is not told.
    pub(crate) fn list_clients(&self, clients: &[(&str, &str)]) {
        let config = fs::read_to_string(self.config_file()).unwrap();
        let (config, _) = config.split_once(CLIENTS).unwrap_or((&config, ""));
        let row = |(name, access): &(&str, &str)| format!("[[admin.clients]]\nname = '{name}'\n{access}\n");
        let rows: String = clients.iter().map(row).collect();
        replace(&self.config_file(), &format!("{config}{CLIENTS}{rows}"));
    }

    /// The port that it serves `AdminService` on since its last start.
    pub(crate) fn admin_port(&self) -> u16 {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("AdminService over TLS"));
        let (_, rest) = line.unwrap().split_once("listen=127.0.0.1:").unwrap();
        rest.split(' ').next().unwrap().parse().unwrap()
    }
}
