//! The emulated Google, as a process.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{
    command::program,
    http::{Answer, get, post_json, request},
    wait_until,
};

/// The OAuth client that it knows.
pub(crate) const CLIENT_ID: &str = "100000000001-emulator.apps.googleusercontent.com";

/// A running `google-emulator`; it ends with this value.
pub(crate) struct Emulator {
    pub(crate) base_url: String,
    pub(crate) control_url: String,
    /// Its OAuth client's secret: another one for each emulator, to be recognized where it does not belong.
    pub(crate) client_secret: String,
    process: Child,
    _log: NamedTempFile,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Emulator {
    /// Starts one on free ports that approves every consent; `args` are added.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut all = vec!["--auto-approve"];
        all.extend_from_slice(args);
        Self::start_with(&all)
    }

    /// Starts one on free ports with nothing but `args`.
    pub(crate) fn start_with(args: &[&str]) -> Self {
        let log = NamedTempFile::new().unwrap();
        let client_secret = format!("GOCSPX-{}", unique());
        let mut process = program()
            .args([
                "google-emulator",
                "--listen",
                "127.0.0.1:0",
                "--control",
                "127.0.0.1:0",
            ])
            .args(args)
            .env("GOOGLE_EMULATOR_CLIENT_SECRET", &client_secret)
            .stdout(Stdio::piped())
            .stderr(File::create(log.path()).unwrap())
            .spawn()
            .unwrap();
        let (mut base_url, mut control_url) = (None, None);
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        while base_url.is_none() || control_url.is_none() {
            let Some(Ok(line)) = lines.next() else {
                let said = std::fs::read_to_string(log.path()).unwrap_or_default();
                panic!("the emulator did not start: {said}");
            };
            let value = |name: &str| line.strip_prefix(name).map(|url| url.trim().to_owned());
            base_url = base_url.or_else(|| value("Google, emulated:"));
            control_url = control_url.or_else(|| value("Control:"));
        }
        // What else it says must find a reader, or it would end.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            base_url: base_url.unwrap(),
            control_url: control_url.unwrap(),
            client_secret,
            process,
            _log: log,
        }
    }

    /// `POST` to the control address.
    #[track_caller]
    pub(crate) fn order(&self, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.control_url);
        post_json(&url, body).expect_ok().json()
    }

    /// `GET` from the control address.
    #[track_caller]
    pub(crate) fn look(&self, path: &str) -> Value {
        get(&format!("{}{path}", self.control_url)).expect_ok().json()
    }

    /// One of the counters of `GET /stats`, such as `refresh`.
    #[track_caller]
    pub(crate) fn count(&self, counter: &str) -> u64 {
        self.look("/stats")[counter].as_u64().expect("such a counter")
    }

    /// Waits until a counter is at least `least`.
    pub(crate) fn wait_for_count(&self, counter: &str, least: u64) {
        wait_until(&format!("{counter} to reach {least}"), || {
            self.count(counter) >= least
        });
    }

    /// Orders a fault; returns its id.
    #[track_caller]
    pub(crate) fn fault(&self, fault: &Value) -> String {
        match &self.order("/faults", fault)["id"] {
            Value::String(id) => id.clone(),
            id => id.to_string(),
        }
    }

    /// Takes a fault back, and releases what it held.
    pub(crate) fn clear_fault(&self, id: &str) {
        let url = format!("{}/faults/{id}", self.control_url);
        request(Method::DELETE, &url, &[], String::new())
            .unwrap()
            .expect_ok();
    }

    /// Takes all faults back.
    pub(crate) fn clear_faults(&self) {
        let url = format!("{}/faults", self.control_url);
        request(Method::DELETE, &url, &[], String::new())
            .unwrap()
            .expect_ok();
    }

    /// The person removes the app in the account's settings.
    pub(crate) fn revoke(&self, account: &str) {
        self.order("/revoke", &json!({ "account": account }));
    }

    /// How long access tokens live from now on.
    pub(crate) fn set_lifetime(&self, lifetime: Duration) {
        self.order("/lifetime", &json!({ "seconds": lifetime.as_secs() }));
    }

    /// `off`, `leeway` or `strict`.
    pub(crate) fn set_rotation(&self, mode: &str) {
        self.order("/rotation", &json!({ "mode": mode }));
    }

    /// A call of one of its APIs with a bearer token: what a resource server says to it.
    pub(crate) fn call(&self, path: &str, token: &str) -> Answer {
        let url = format!("{}{path}", self.base_url);
        let bearer = format!("Bearer {token}");
        request(Method::GET, &url, &[("authorization", &bearer)], String::new()).unwrap()
    }

    /// Whether a resource server takes this token (with a capability of Gmail or without: 200 and 403 both
    /// mean that it is alive).
    pub(crate) fn is_alive(&self, token: &str) -> bool {
        self.call("/v1/userinfo", token).status != 401
    }
}

/// Something no other test and no other run has.
fn unique() -> String {
    let name = tempfile::Builder::new()
        .prefix("")
        .rand_bytes(24)
        .tempdir()
        .unwrap();
    name.path().file_name().unwrap().to_str().unwrap().to_owned()
}
