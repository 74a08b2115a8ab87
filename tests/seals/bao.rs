//! An OpenBao server as a process, with a Transit engine.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use token_broker::config::TransitSection;

use crate::{
    installed,
    support::{Answer, Authority, request, wait_for, wait_until},
};

/// What a daemon may do, as the documentation has it.
pub(crate) const POLICY: &str = r#"
path "transit/encrypt/tb" { capabilities = ["update"] }
path "transit/decrypt/tb" { capabilities = ["update"] }
path "transit/keys/tb"    { capabilities = ["read"] }
"#;

/// A server on loopback, unsealed, with the key `tb`; killed with this value.
pub(crate) struct Bao {
    /// Where this test administers it, in plain HTTP.
    api: String,
    /// Its port with TLS.
    port: u16,
    pub(crate) folder: TempDir,
    process: Child,
}

impl Drop for Bao {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that is free at the moment.
fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Bao {
    pub(crate) fn start() -> Self {
        // Another process may take a port before the server does.
        let mut bao = wait_for("a server with its ports", || Self::begin(free(), free()));
        bao.root("POST", "sys/mounts/transit", &json!({"type": "transit"}));
        bao.root("POST", "transit/keys/tb", &json!({}));
        bao.write_token(POLICY);
        bao
    }

    fn begin(plain: u16, port: u16) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let (certificate, key) = authority.server().put(folder.path(), "server");
        fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
        let config = format!(
            "listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_cert_file = \"{}\"\n  tls_key_file = \"{}\"\n}}\n",
            certificate.display(),
            key.display()
        );
        fs::write(folder.path().join("tls.hcl"), config).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let process = Command::new(installed("bao"))
            .args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root"])
            .arg(format!("-dev-listen-address=127.0.0.1:{plain}"))
            .arg(format!("-config={}", folder.path().join("tls.hcl").display()))
            .env_clear()
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn()
            .unwrap();
        let mut bao = Self {
            api: format!("http://127.0.0.1:{plain}/v1"),
            port,
            folder,
            process,
        };
        wait_until("the server to answer or to end", || {
            bao.is_up() || bao.process.try_wait().unwrap().is_some()
        });
        bao.is_up().then_some(bao)
    }

    fn is_up(&self) -> bool {
        let health = request(
            Method::GET,
            &format!("{}/sys/health", self.api),
            &[],
            String::new(),
        );
        health.is_ok_and(|answer| answer.status == 200)
    }

    /// Asks as its administrator.
    #[track_caller]
    pub(crate) fn root(&self, method: &str, path: &str, body: &Value) -> Answer {
        let url = format!("{}/{path}", self.api);
        let headers = [("x-vault-token", "root")];
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        request(method, &url, &headers, body.to_string())
            .unwrap()
            .expect_ok()
    }

    /// The token's file, as an agent beside the daemon writes it.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// Puts a fresh token that this policy is for in place of the one before.
    pub(crate) fn write_token(&mut self, policy: &str) {
        self.root("PUT", "sys/policies/acl/tb", &json!({"policy": policy}));
        let made = self.root(
            "POST",
            "auth/token/create",
            &json!({"policies": ["tb"], "no_default_policy": true, "ttl": "1h"}),
        );
        self.put_token(made.json()["auth"]["client_token"].as_str().unwrap());
    }

    pub(crate) fn put_token(&self, token: &str) {
        fs::write(self.token_file(), token).unwrap();
        fs::set_permissions(self.token_file(), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// How the seal is named.
    pub(crate) fn source(&self) -> String {
        format!("transit:https://localhost:{}/v1/transit/keys/tb", self.port)
    }

    pub(crate) fn section(&self) -> TransitSection {
        TransitSection {
            token_file: self.token_file(),
            ca_file: Some(self.folder.path().join("ca.pem")),
            namespace: None,
        }
    }

    pub(crate) fn seal(&self) {
        self.root("PUT", "sys/seal", &json!({}));
    }

    pub(crate) fn unseal(&self) {
        // It answers before it has said all that it says.
        let key = wait_for("the key that unseals", || {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
            let mut whole = log
                .split_inclusive('\n')
                .filter_map(|line| line.strip_suffix('\n'));
            let key = whole.find_map(|line| line.strip_prefix("Unseal Key: "));
            key.map(|key| key.trim().to_owned())
        });
        self.root("PUT", "sys/unseal", &json!({"key": key}));
        wait_until("the server to be unsealed", || self.is_up());
    }
}
