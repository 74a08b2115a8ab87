//! `oidc-provider`, as a process, and a daemon that uses it.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use http::Method;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::{
    browser::Browser,
    support::{Answer, Connecting, Daemon, Output, get, post_json, request, wait_until},
};

pub(crate) const CLIENT_ID: &str = "counterpart-client";
/// A client without a secret.
pub(crate) const PUBLIC_CLIENT_ID: &str = "counterpart-public-client";
pub(crate) const CLIENT_SECRET: &str = "canary-secret-of-the-counterpart-client";

pub(crate) const SCOPE: &str = "https://www.googleapis.com/auth/";

/// An OAuth server on loopback; killed with this value.
pub(crate) struct Provider {
    pub(crate) base_url: String,
    control_url: String,
    process: Child,
    log: NamedTempFile,
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "--- the server's log\n{}", self.log());
        }
    }
}

/// Where `tests/run` has installed it.
fn installed() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::var_os("TOKEN_BROKER_TEST_COUNTERPART")
        .map_or_else(|| root.join(".tools/counterpart"), PathBuf::from);
    assert!(
        folder.join("node").exists(),
        "{} is not there: run tests/run",
        folder.display()
    );
    folder
}

impl Provider {
    /// Makes it the provider `acme` of the daemon. `client` has the lines of the section that say which client that is; a
    /// capability is its key, its title and its scope.
    pub(crate) fn configure(&self, daemon: &Daemon, client: &str, capabilities: &[(&str, &str, &str)]) {
        let config = fs::read_to_string(daemon.config_file()).unwrap();
        let issuer = &self.base_url;
        let provider = format!(
            "\n[[providers]]\nid = \"acme\"\ntype = \"oidc\"\nname = \"Acme\"\nissuer = \"{issuer}\"\n{client}\n"
        );
        let capability = |(key, title, scope): &(&str, &str, &str)| {
            format!(
                "\n[[capabilities]]\nkey = \"{key}\"\ntitle = \"{title}\"\ngroup = \"Acme\"\nintegration = \"acme\"\n\
                 scopes = [\"{scope}\"]\n"
            )
        };
        let capabilities: String = capabilities.iter().map(capability).collect();
        let config = config + &provider + &capabilities;
        fs::write(daemon.config_file(), config).unwrap();
    }

    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more in its environment.
    pub(crate) fn start_with(environment: &[(&str, &str)]) -> Self {
        let folder = installed();
        let log = NamedTempFile::new().unwrap();
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/counterpart/server.mjs");
        let mut process = Command::new(folder.join("node"))
            .arg(server)
            .arg(&folder)
            .env_clear()
            .env("CLIENT_ID", CLIENT_ID)
            .env("CLIENT_SECRET", CLIENT_SECRET)
            .env("PUBLIC_CLIENT_ID", PUBLIC_CLIENT_ID)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log.path()).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut address = |name: &str| {
            let line = lines.next().and_then(Result::ok).unwrap_or_else(|| {
                let said = std::fs::read_to_string(log.path()).unwrap_or_default();
                panic!("the server did not start: {said}")
            });
            line.strip_prefix(name).expect(&line).trim().to_owned()
        };
        let (base_url, control_url) = (address("Provider:"), address("Control:"));
        Self {
            base_url,
            control_url,
            process,
            log,
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// A daemon that takes it for its provider. It adds nothing to earlier grants by itself, so the broker has to
    /// ask for old and new permissions together, as for Google's desktop clients.
    pub(crate) fn daemon(&self) -> Daemon {
        let settings = [("google.client_id", CLIENT_ID), ("google.client_type", "desktop")];
        Daemon::against(&self.base_url, CLIENT_SECRET, &settings)
    }

    #[track_caller]
    pub(crate) fn order(&self, order: &str, body: &Value) {
        post_json(&format!("{}/{order}", self.control_url), body).expect_ok();
    }

    /// Token requests wait `before` or `after` they are worked on.
    pub(crate) fn hold(&self, when: &str) {
        self.order("hold", &json!({ "when": when }));
    }

    /// Lets those that wait go on.
    pub(crate) fn release(&self) {
        self.order("release", &json!({}));
    }

    pub(crate) fn state(&self) -> Value {
        get(&format!("{}/state", self.control_url)).expect_ok().json()
    }

    pub(crate) fn count(&self, counter: &str) -> u64 {
        self.state()[counter].as_u64().expect("such a counter")
    }

    pub(crate) fn wait_for_count(&self, counter: &str, least: u64) {
        wait_until(&format!("{counter} to reach {least}"), || {
            self.count(counter) >= least
        });
    }

    /// The refresh tokens that have not been used yet, and those that have.
    pub(crate) fn refresh_tokens(&self, spent: bool) -> Vec<String> {
        let state = self.state();
        let all = state["refresh"].as_array().unwrap().iter();
        let wanted = all.filter(|entry| entry["spent"] == json!(spent));
        wanted
            .map(|entry| entry["token"].as_str().unwrap().to_owned())
            .collect()
    }

    /// What an access token carries, sorted; `None` for one that is dead.
    pub(crate) fn scopes_of(&self, token: &str) -> Option<Vec<String>> {
        let state = self.state();
        let mut all = state["access"].as_array().unwrap().iter();
        let entry = all.find(|entry| entry["token"] == token)?;
        let mut scopes: Vec<String> = entry["scope"]
            .as_str()
            .unwrap()
            .split(' ')
            .map(str::to_owned)
            .collect();
        scopes.sort();
        Some(scopes)
    }

    /// Whether a resource server takes this token, with the scope `openid` or without.
    pub(crate) fn is_alive(&self, token: &str) -> bool {
        let url = format!("{}/v1/userinfo", self.base_url);
        let bearer = format!("Bearer {token}");
        let answer = request(Method::GET, &url, &[("authorization", &bearer)], String::new());
        answer.unwrap().status != 401
    }

    /// Presents a refresh token by hand, as its client.
    pub(crate) fn present(&self, refresh_token: &str) -> Answer {
        crate::support::post_form(
            &format!("{}/token", self.base_url),
            &[
                ("grant_type", "refresh_token"),
                ("refresh_token", refresh_token),
                ("client_id", CLIENT_ID),
                ("client_secret", CLIENT_SECRET),
            ],
        )
    }

    /// No refresh token was ever used twice.
    #[track_caller]
    pub(crate) fn expect_no_reuse(&self) {
        let state = self.state();
        assert_eq!((&state["reuses"], &state["revocations"]), (&json!(0), &json!(0)));
    }
}

/// `account` connects for `owner` in a browser and ticks every box but `unticked`.
pub(crate) fn connect(
    daemon: &Daemon,
    (owner, account): (&str, &str),
    capabilities: &[&str],
    unticked: &[&str],
) -> Output {
    let connecting = Connecting::start(daemon, owner, capabilities, &[]).unwrap();
    let asked = connecting.asked();
    let ticked: Vec<&str> = asked
        .iter()
        .map(String::as_str)
        .filter(|scope| !unticked.contains(scope))
        .collect();
    let page = Browser::default().consent(connecting.url.as_str(), account, &ticked);
    assert!(page.text().contains("<html"), "{}", page.text());
    daemon.remember(connecting.finish())
}

/// The secrets of the scene so far.
pub(crate) fn secrets(provider: &Provider) -> Vec<String> {
    let state = provider.state();
    let tokens = |kind: &str| {
        let all = state[kind].as_array().unwrap().clone();
        all.into_iter()
            .map(|entry| entry["token"].as_str().unwrap().to_owned())
    };
    tokens("refresh")
        .chain(tokens("access"))
        .chain([CLIENT_SECRET.to_owned()])
        .collect()
}
