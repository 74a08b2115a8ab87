//! A broker that serves sidecars over TLS.

use std::{net::TcpListener, path::Path};

use crate::{
    certificate::Certificate,
    kubernetes::{AUDIENCE, Kubernetes},
    pod::Pod,
    support::{Daemon, Emulator, manifest},
};

pub(crate) const SEND: &str = "google.gmail.send";
/// What the bot's manifest says of pods.
pub(crate) const BILLING: &str = "kubernetes: {namespace: billing, serviceAccount: invoice-bot}\n";

/// The broker with what it needs.
pub(crate) struct Remote {
    pub(crate) google: Emulator,
    pub(crate) kubernetes: Kubernetes,
    pub(crate) certificate: Certificate,
    pub(crate) daemon: Daemon,
    pub(crate) port: u16,
}

impl Remote {
    /// With the agent `invoice-bot` of alice's, who is connected, for pods of `billing/invoice-bot`.
    pub(crate) fn start() -> Self {
        Self::with_lifetime("10s")
    }

    pub(crate) fn with_lifetime(lifetime: &str) -> Self {
        Self::connected(lifetime, &[SEND])
    }

    /// The same with these capabilities.
    pub(crate) fn connected(lifetime: &str, capabilities: &[&str]) -> Self {
        let remote = Self::unconnected(lifetime);
        remote.daemon.connect("alice", capabilities).expect_ok();
        if capabilities != [SEND] {
            let text = manifest("invoice-bot", "alice", capabilities) + BILLING;
            remote.daemon.put_file("invoice-bot", &text);
        }
        remote.daemon.wait_for_state("invoice-bot", "active");
        remote
    }

    /// The same before alice has connected anything.
    pub(crate) fn unconnected(lifetime: &str) -> Self {
        Self::unconnected_with(lifetime, &[])
    }

    /// The same with more keys of the configuration.
    pub(crate) fn unconnected_with(lifetime: &str, more: &[(&str, &str)]) -> Self {
        let google = Emulator::start(&["--token-lifetime", lifetime]);
        let kubernetes = Kubernetes::start();
        let certificate = Certificate::new();
        let port = free_port();
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let settings = [
            ("remote.listen", format!("127.0.0.1:{port}")),
            ("remote.certificate_file", path(&certificate.file("tls.crt"))),
            ("remote.key_file", path(&certificate.file("tls.key"))),
            ("kubernetes.api_url", kubernetes.url()),
            ("kubernetes.api_ca_file", path(&kubernetes.ca_file())),
            ("kubernetes.api_token_file", path(&kubernetes.token_file())),
        ];
        let mut settings: Vec<_> = settings
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        settings.extend_from_slice(more);
        let daemon = Daemon::with(&google, &settings);
        let remote = Self {
            google,
            kubernetes,
            certificate,
            daemon,
            port,
        };
        remote.allow("invoice-bot", BILLING);
        remote.daemon.start();
        remote
    }

    /// Writes the manifest of an agent of alice's, with `rest` in it.
    pub(crate) fn allow(&self, agent: &str, rest: &str) {
        self.daemon
            .put_file(agent, &(manifest(agent, "alice", &[SEND]) + rest));
    }

    /// A token for a pod that runs as this service account.
    pub(crate) fn token(&self, namespace: &str, service_account: &str) -> String {
        self.kubernetes
            .issue(namespace, service_account, "uid-of-the-pod", AUDIENCE)
    }

    /// A pod of `billing/invoice-bot` whose sidecar does not run yet.
    pub(crate) fn pod(&self) -> Pod {
        self.pod_of("billing", "invoice-bot")
    }

    pub(crate) fn pod_of(&self, namespace: &str, service_account: &str) -> Pod {
        let pod = Pod::new();
        pod.put_token(&self.token(namespace, service_account));
        self.certificate.authority_in(pod.folder());
        pod
    }

    /// The options of a sidecar that speaks to this broker.
    pub(crate) fn options(&self, pod: &Pod) -> Vec<String> {
        let path = |name: &str| pod.folder().join(name).to_str().unwrap().to_owned();
        [
            ("--from", format!("https://localhost:{}", self.port)),
            ("--agent", "invoice-bot".to_owned()),
            ("--token-file", path("token")),
            ("--ca-file", path("ca.crt")),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }

    /// A pod whose agent has its token.
    pub(crate) fn running(&self) -> Pod {
        let mut pod = self.pod();
        pod.start(&self.options(&pod));
        pod.wait_until_ready();
        pod
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
