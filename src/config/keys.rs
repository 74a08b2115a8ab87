//! The table of all keys: names, defaults and what they are for. The reader, the environment variables and
//! the template that `init` writes all come from it.

/// How a value is spelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A string.
    Text,
    /// A whole number.
    Number,
    /// A list of strings; separated by commas in an environment variable.
    List,
}

/// One key.
pub(super) struct Key {
    /// Its path, such as `google.client_id`.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// What holds without it, as an environment variable would spell it; `None` where the default is derived
    /// from something else, or there is none.
    pub(super) default: Option<&'static str>,
    /// A value for the template where there is no default.
    pub(super) example: &'static str,
    /// What it is for, in the template's lines.
    pub(super) doc: &'static str,
}

const fn key(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    let default = Some(default);
    Key {
        path,
        kind,
        default,
        example: "",
        doc,
    }
}

const fn open(path: &'static str, kind: Kind, example: &'static str, doc: &'static str) -> Key {
    Key {
        path,
        kind,
        default: None,
        example,
        doc,
    }
}

/// Where sockets and agents' directories are while no configuration says otherwise.
pub const DEFAULT_RUNTIME_DIR: &str = "/run/token-broker";

/// All keys but `[[capabilities]]`, which has a form of its own, in the template's order.
pub(super) const KEYS: &[Key] = &[
    key(
        "state_dir",
        Kind::Text,
        "/var/lib/token-broker",
        "Where the encrypted database lives. Back it up together with the master key.",
    ),
    key(
        "runtime_dir",
        Kind::Text,
        DEFAULT_RUNTIME_DIR,
        "Where the admin socket and the agents' directories are. It should be a tmpfs.",
    ),
    key(
        "http_listen",
        Kind::Text,
        "127.0.0.1:8420",
        "Where the OAuth callback, the pages for people, /metrics, /healthz and /readyz are served.",
    ),
    open(
        "public_url",
        Kind::Text,
        "http://127.0.0.1:8420",
        "How a person's browser reaches http_listen, with a path where a proxy has one. Requests that name another\n\
         host are refused. Derived from http_listen unless set.",
    ),
    open(
        "key.source",
        Kind::Text,
        "file:/etc/token-broker/master.key",
        "Where the master key comes from: file:PATH, env:VARIABLE, credential:NAME (systemd) or\n\
         command:PROGRAM ARGUMENTS (its output). master.key beside this file unless set.",
    ),
    key(
        "key.previous",
        Kind::List,
        "",
        "Keys from before a rotation, in the same form: still needed to read what they sealed.",
    ),
    key(
        "key.command_environment",
        Kind::List,
        "",
        "Variables of the daemon's environment that a command: gets besides PATH, HOME and LANG.",
    ),
    open(
        "google.client_id",
        Kind::Text,
        "….apps.googleusercontent.com",
        "The OAuth client, from https://console.cloud.google.com/auth/clients.",
    ),
    open(
        "google.client_secret_file",
        Kind::Text,
        "/etc/token-broker/client_secret",
        "A file that nobody else can read, with its secret or the whole client_secret.json.",
    ),
    open(
        "google.client_secret",
        Kind::Text,
        "…",
        "The secret itself, better kept in the environment than here.",
    ),
    key(
        "google.client_type",
        Kind::Text,
        "web",
        "\"web\", or \"desktop\" for a client of that type: Google adds no permissions to its grants, so\n\
         old and new ones are asked for together.",
    ),
    open(
        "google.redirect_uri",
        Kind::Text,
        "http://127.0.0.1:8420/oauth/callback",
        "Must be registered with the client exactly so. <public_url>/oauth/callback unless set.",
    ),
    open(
        "google.endpoint_base",
        Kind::Text,
        "http://127.0.0.1:9005",
        "An emulator that serves Google's paths. HTTPS, or plain HTTP on a loopback address.",
    ),
    key(
        "log.format",
        Kind::Text,
        "text",
        "\"text\" for people, \"json\" for programs.",
    ),
    key(
        "log.level",
        Kind::Text,
        "info",
        "error, warn, info, debug or trace; also per module, as in \"info,token_broker::broker=debug\".",
    ),
    key(
        "renewal.concurrency",
        Kind::Number,
        "64",
        "How many renewals run at the same time, 1 to 1024.",
    ),
    key(
        "audit.retention_days",
        Kind::Number,
        "365",
        "How long audit events are kept, 1 to 36500 days.",
    ),
    key(
        "audit.max_bytes",
        Kind::Number,
        "536870912",
        "How much disk the audit trail may take, in bytes, from 16777216 (16 MiB) to 1099511627776 (1 TiB); half of\n\
         state_dir's volume at most. Beyond that the oldest events go first, however young they are.",
    ),
    key(
        "connect.return_url_origins",
        Kind::List,
        "",
        "Where a platform may send people back to after a consent, such as \"https://platform.example\".",
    ),
    key(
        "connect.timeout_minutes",
        Kind::Number,
        "10",
        "How long a person may take over a consent, 1 to 1440 minutes.",
    ),
    key(
        "console.idle_minutes",
        Kind::Number,
        "30",
        "How long somebody stays signed in to the console without looking at it, 1 to 1440 minutes.",
    ),
    key(
        "console.session_hours",
        Kind::Number,
        "12",
        "How long they stay signed in in all, 1 to 168 hours.",
    ),
    key(
        "console.proxy_addresses",
        Kind::List,
        "",
        "Where a reverse proxy that authenticates people connects from (addresses or networks), so that nobody needs\n\
         a link to the console. Whoever connects from there is believed.",
    ),
    open(
        "console.proxy_header",
        Kind::Text,
        "x-forwarded-user",
        "The header in which that proxy names the person: the owner of that name. It has to remove it from what\n\
         people send.",
    ),
    key(
        "console.operators",
        Kind::List,
        "",
        "The people among them who see every owner's accounts and agents.",
    ),
    open(
        "adc.listen",
        Kind::Text,
        "127.0.0.1:8421",
        "Where agents' Google libraries get tokens that read `adc.json`, which is written into each agent's\n\
         directory once this is set. Each agent has a secret of its own in that file.",
    ),
    open(
        "adc.url",
        Kind::Text,
        "http://127.0.0.1:8421",
        "How agents reach it, where that is another address than adc.listen: from containers, say.",
    ),
    open(
        "metadata.listen",
        Kind::Text,
        "127.0.0.1:8422",
        "Where one agent's Google libraries find a GCE metadata server. Loopback only, and only where that\n\
         agent has the network namespace to itself: whoever reaches it gets the agent's tokens.",
    ),
    open(
        "metadata.agent",
        Kind::Text,
        "invoice-bot",
        "Which agent that is.",
    ),
    key(
        "metadata.project_id",
        Kind::Text,
        "token-broker",
        "The Google Cloud project that agents are told they run in; nothing is charged to it.",
    ),
    key(
        "risc.audiences",
        Kind::List,
        "",
        "The client ids of the Google project whose security events are taken at POST /risc (Cross-Account\n\
         Protection). Nothing is taken without any.",
    ),
    open(
        "kubernetes.node_name",
        Kind::Text,
        "node-1",
        "This node's name in Kubernetes. The machine's host name unless set.",
    ),
    open(
        "kubernetes.api_url",
        Kind::Text,
        "https://10.96.0.1:443",
        "The Kubernetes API, which says whether pods' tokens are genuine. Inside a cluster it is found by itself.",
    ),
    key(
        "kubernetes.api_ca_file",
        Kind::Text,
        "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
        "The certificate authorities of the Kubernetes API, in PEM. Read for each request.",
    ),
    key(
        "kubernetes.api_token_file",
        Kind::Text,
        "/var/run/secrets/kubernetes.io/serviceaccount/token",
        "What the daemon proves itself with there. Read for each request.",
    ),
    open(
        "kubernetes.startup_taint",
        Kind::Text,
        "token-broker.dev/agent-not-ready",
        "The key of a taint that nodes begin with. It is removed from this node once every agent has its files and\n\
         the kubelet has registered the driver, so that no pod that needs them comes too early.",
    ),
    open(
        "csi.endpoint",
        Kind::Text,
        "/var/lib/kubelet/plugins/token-broker.dev/csi.sock",
        "The Unix socket on which the kubelet calls the CSI driver, which gives agents' directories to pods as\n\
         volumes. There is no driver without it.",
    ),
    key(
        "csi.driver",
        Kind::Text,
        "token-broker.dev",
        "The driver's name, as pods and the CSIDriver object spell it.",
    ),
    open(
        "csi.registration",
        Kind::Text,
        "/var/lib/kubelet/plugins_registry/token-broker.dev-reg.sock",
        "The Unix socket on which the kubelet learns of the driver, in the folder that it watches. Without it, a\n\
         node-driver-registrar has to tell it.",
    ),
    open(
        "csi.audience",
        Kind::Text,
        "token-broker.dev",
        "The audience of the pods' tokens, as the CSIDriver object's tokenRequests ask for it. The driver's name\n\
         unless set.",
    ),
    open(
        "remote.listen",
        Kind::Text,
        "0.0.0.0:8443",
        "Where `token-broker sidecar` of pods on other nodes reaches the broker over TLS, with the pod's projected\n\
         service-account token. Nobody is served so without it.",
    ),
    open(
        "remote.certificate_file",
        Kind::Text,
        "/etc/token-broker/tls/tls.crt",
        "The certificate for it, in PEM. It and its key are read again when they change.",
    ),
    open(
        "remote.key_file",
        Kind::Text,
        "/etc/token-broker/tls/tls.key",
        "The certificate's private key, in PEM.",
    ),
    key(
        "remote.audience",
        Kind::Text,
        "token-broker.dev",
        "The audience of the pods' tokens, as their projected volumes ask for it.",
    ),
];

/// The environment variable of a key.
pub(super) fn variable(path: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", path.replace('.', "_").to_ascii_uppercase())
}

/// What all variables begin with.
pub(super) const VARIABLE_PREFIX: &str = "TOKEN_BROKER_";

/// The key with this path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// True when some key lies in the section of this name.
pub(super) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| section(key.path) == name)
}

/// The section of a key; empty at the root.
pub(super) fn section(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(section, _)| section)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_keys_share_a_variable() {
        let variables: HashSet<_> = KEYS.iter().map(|key| variable(key.path)).collect();
        assert_eq!(variables.len(), KEYS.len());
        assert!(variables.contains("TOKEN_BROKER_GOOGLE_CLIENT_ID"));
        assert!(variables.contains("TOKEN_BROKER_STATE_DIR"));
    }
}
