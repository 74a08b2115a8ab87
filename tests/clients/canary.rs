//! No secret leaves its place: one scene with everything that goes wrong, at the log's most talkative level, and a
//! search for each secret that took part in it, in every place but its own.

mod process;
mod search;

use std::fs;

use base64::prelude::{BASE64_STANDARD, Engine};
use rustix::process::Signal;
use serde_json::{Value, json};
use url::Url;

use crate::{
    proxy::Proxy,
    support::{Answer, Connecting, Daemon, Emulator, Output, get, post_form, program, wait_until},
};
use search::{Places, Secrets};

const CAPABILITIES: [&str; 2] = ["google.gmail.send", "google.calendar.readonly"];

struct Scene {
    google: Emulator,
    proxy: Proxy,
    daemon: Daemon,
    /// What was said to people and programs, beside the commands of the harness.
    places: Places,
    /// What agents prove themselves with at the token endpoint.
    agent_secrets: Vec<String>,
    /// Private keys of service accounts, and grants that were handed over.
    handed: Vec<(String, Vec<u8>)>,
}

#[test]
fn no_secret_leaves_its_place() {
    let mut scene = Scene::new();
    scene.daemon.start();
    scene.connect_and_renew();
    scene.provider_echoes_secrets();
    scene.callbacks_go_wrong();
    scene.operator_makes_mistakes();
    scene.keys_and_grants_are_handed_over();
    scene.everything_is_asked();
    scene.libraries_ask();
    scene.read_process();

    scene.set("TOKEN_BROKER_LOG_FORMAT", "json");
    assert_eq!(scene.daemon.terminate(), 0);
    scene.daemon.start();
    scene.connect_and_renew();
    scene.provider_echoes_secrets();
    scene.callbacks_go_wrong();
    scene.daemon.signal(Signal::HUP);
    scene.everything_is_asked();
    scene.libraries_ask();
    scene.read_process();
    scene.kept_files();
    scene.disconnect();
    assert_eq!(scene.daemon.terminate(), 0);
    scene.kept_files();

    let secrets = scene.secrets();
    let Scene {
        daemon, mut places, ..
    } = scene;
    let log = daemon.whole_log();
    // Both forms, and what libraries say is among it.
    assert!(log.contains(" TRACE ") && log.contains("\"level\":\"TRACE\""));
    places.add("the log", log);
    places.add("what commands said", daemon.transcript());
    for kind in [
        "page",
        "problem",
        "metrics",
        "cmdline",
        "environ",
        "broker.db-wal",
        "status.json",
    ] {
        assert!(places.count(kind) > 0, "nothing of kind {kind} was looked at");
    }
    places.expect_none_of(&secrets);
}

impl Scene {
    fn new() -> Self {
        let google = Emulator::start(&["--token-lifetime", "12s", "--rotation", "leeway"]);
        let proxy = Proxy::to(&google.base_url);
        let daemon = Daemon::with(
            &google,
            &[
                ("google.endpoint_base", &proxy.base_url),
                ("adc.listen", "127.0.0.1:0"),
                ("metadata.listen", "127.0.0.1:0"),
                ("metadata.agent", "invoice-bot"),
            ],
        );
        daemon.write_manifest("invoice-bot", "alice", &CAPABILITIES);
        daemon.write_manifest("nobodys-bot", "nobody", &["google.drive"]);
        let mut scene = Self {
            google,
            proxy,
            daemon,
            places: Places::default(),
            agent_secrets: Vec::new(),
            handed: Vec::new(),
        };
        scene.set("TOKEN_BROKER_LOG_LEVEL", "trace");
        scene
    }

    fn set(&mut self, name: &str, value: &str) {
        self.daemon.environment.push((name.to_owned(), value.to_owned()));
    }

    fn page(&mut self, answer: &Answer) {
        self.places.add("a page", answer.body.to_vec());
        self.places
            .add("a page's headers", format!("{:?}", answer.headers));
    }

    /// A consent, the same redirect a second time, and tokens that are renewed.
    fn connect_and_renew(&mut self) {
        let connecting = Connecting::start(&self.daemon, "alice", &CAPABILITIES, &[]).unwrap();
        let consent = post_form(
            connecting.url.as_str(),
            &[("account", "alice@example.com"), ("decision", "allow")]
                .into_iter()
                .chain(connecting.asked().iter().map(|scope| ("scope", scope.as_str())))
                .collect::<Vec<_>>(),
        );
        let callback = consent.header("location").to_owned();
        let connected = get(&callback);
        assert!(connected.text().contains("alice@example.com"));
        let again = get(&callback);
        assert_eq!(again.status, 409);
        self.page(&connected);
        self.page(&again);
        self.daemon.remember(connecting.finish()).expect_ok();
        let agent = self.daemon.wait_for_state("invoice-bot", "active");
        let mut watch = agent.watch();
        let mut tokens = Vec::new();
        while tokens.len() < 3 {
            let (_, data) = watch.next().unwrap();
            tokens.extend(data["access_token"].as_str().map(str::to_owned));
        }
        assert_eq!(agent.grpc().token().unwrap().token_type, "Bearer");
    }

    /// Failures whose bodies quote what they were asked with.
    fn provider_echoes_secrets(&mut self) {
        let refresh_token = self.proxy.values("refresh_token").pop().unwrap();
        let access_token = self.proxy.values("access_token").pop().unwrap();
        let said = format!(
            "refresh_token={refresh_token}&client_secret={} {access_token}",
            self.google.client_secret
        );
        let unreadable =
            json!({ "access_token": access_token, "refresh_token": refresh_token, "expires_in": {} });
        let faults = [
            json!({ "status": 500, "body": said }),
            json!({ "status": 503, "body": format!("<html>{said}</html>"), "headers": { "Retry-After": "0" } }),
            json!({ "status": 200, "body": unreadable.to_string() }),
            json!({ "status": 200, "body": said }),
            json!({ "status": 302, "body": said, "headers": { "Location": format!("http://127.0.0.1:1/?{said}").replace(' ', "+") } }),
            json!({ "error": "invalid_client", "error_description": said }),
            json!({ "error": said, "error_description": "none" }),
            json!({ "error": "invalid_grant", "error_description": said }),
        ];
        for (number, fault) in faults.into_iter().enumerate() {
            // Five checks in a row are allowed, and a daemon that starts counts anew.
            if number % 4 == 0 {
                self.daemon.restart();
                self.daemon.wait_for_state("invoice-bot", "active");
            }
            self.ordered_fault(fault);
        }
        self.daemon.wait_for_state("invoice-bot", "reconnect_required");
        self.daemon.connect("alice", &CAPABILITIES).expect_ok();
        self.daemon.wait_for_state("invoice-bot", "active");
    }

    /// Orders a fault for refreshes and lets it strike, through the command that asks Google now.
    fn ordered_fault(&self, mut fault: Value) {
        fault["endpoint"] = json!("token");
        fault["grant_type"] = json!("refresh_token");
        let struck = self.google.count("faults_struck");
        let id = self.google.fault(&fault);
        self.daemon.cli(&["integrations", "check", "--owner", "alice"]);
        self.google.wait_for_count("faults_struck", struck + 1);
        self.daemon.cli(&["status"]);
        self.daemon.cli(&["integrations", "list"]);
        self.google.clear_fault(&id);
    }

    /// Redirects that are wrong and carry secrets.
    fn callbacks_go_wrong(&mut self) {
        let code = self.proxy.values("code").pop().unwrap();
        let secret = self.google.client_secret.clone();
        let refresh_token = self.proxy.values("refresh_token").pop().unwrap();
        let url = |pairs: &[(&str, &str)]| {
            let mut url = Url::parse(&self.daemon.http()).unwrap();
            url.set_path("/oauth/callback");
            url.query_pairs_mut().extend_pairs(pairs);
            url.to_string()
        };
        let mut answers = vec![
            get(&url(&[("code", &code), ("state", "bogus")])),
            get(&url(&[("code", &code), ("state", &refresh_token)])),
            get(&url(&[("code", &code)])),
            get(&url(&[("error", &secret), ("error_description", &refresh_token)])),
            get(&url(&[(&secret, &refresh_token)])),
            get(&format!("{}/agents/{secret}", self.daemon.http())),
            get(&format!("{}/{secret}?{secret}", self.daemon.http())),
            post_form(&url(&[("code", &code)]), &[("code", &code)]),
        ];
        for error in ["access_denied", "server_error", &secret] {
            let connecting = Connecting::start(&self.daemon, "alice", &CAPABILITIES, &[]).unwrap();
            let state = connecting.url.query_pairs().find(|(name, _)| name == "state");
            let state = state.unwrap().1.into_owned();
            let pairs = [
                ("error", error),
                ("error_description", &refresh_token),
                ("state", &state),
            ];
            answers.push(get(&url(&pairs)));
            self.daemon.remember(connecting.finish());
        }
        // A code that Google does not know, for a consent that is under way.
        let connecting = Connecting::start(&self.daemon, "alice", &CAPABILITIES, &[]).unwrap();
        let state = connecting.url.query_pairs().find(|(name, _)| name == "state");
        let state = state.unwrap().1.into_owned();
        answers.push(get(&url(&[("code", &refresh_token), ("state", &state)])));
        self.daemon.remember(connecting.finish());
        for answer in &answers {
            self.page(answer);
        }
    }

    /// Secrets in the wrong place of a configuration or a command line.
    fn operator_makes_mistakes(&mut self) {
        let key = fs::read_to_string(self.daemon.key_file()).unwrap();
        let (key, secret) = (key.trim(), self.google.client_secret.clone());
        let folder = tempfile::tempdir().unwrap();
        let spoiled_key = folder.path().join("spoiled.key");
        fs::write(&spoiled_key, format!("{key}!")).unwrap();
        let file = folder.path().join("config.toml");
        let configurations = [
            format!("[google]\nclient_secrte = \"{secret}\""),
            format!("[google]\nclient_secret = \"{secret}"),
            format!("[google]\nclient_secret = {secret}"),
            format!("[google]\nclient_secret = [\"{secret}\"]"),
            format!("[google]\nclient_type = \"{secret}\""),
            format!("google = \"{secret}\""),
            format!("[google]\nclient_id = \"id\"\nclient_secret_file = \"{secret}\""),
            format!("[key]\nsource = \"{key}\""),
            format!("[key]\nsource = {key}"),
            format!("[key]\nsource = \"file:{key}\""),
            format!("[key]\nsource = \"env:{key}\""),
            format!("[key]\nsource = \"file:{}\"", spoiled_key.display()),
            format!("[key]\nsource = \"command:/bin/echo {key}!\""),
            format!("[key]\nprevious = [\"{key}\"]"),
        ];
        for (number, text) in configurations.iter().enumerate() {
            fs::write(&file, text).unwrap();
            for command in ["serve", "doctor", "status"] {
                let mut wrong = program();
                let output = Output::of(wrong.arg("--config").arg(&file).arg(command));
                assert_ne!(output.code, 0, "{text}: {output:?}");
                let name = format!("{command} with wrong configuration {number}");
                self.places
                    .add(name, format!("{}\n{}", output.stdout, output.stderr));
            }
        }
        let mut init = program();
        init.arg("init")
            .arg("--config-dir")
            .arg(folder.path().join("new"));
        let setting = format!("google.client_secret={secret}");
        let refused = Output::of(init.arg("--set").arg(&setting));
        assert_ne!(refused.code, 0);
        self.places.add("init with a secret", refused.stderr);
        for variable in ["TOKEN_BROKER_KEY_SOURCE", "TOKEN_BROKER_GOOGLE_CLIENT_TYPE"] {
            let mut wrong = self.daemon.command(&["doctor"]);
            let output = Output::of(wrong.env(variable, key));
            let name = format!("doctor with a wrong {variable}");
            self.places
                .add(name, format!("{}\n{}", output.stdout, output.stderr));
        }
    }

    /// Service accounts' keys and other platforms' grants: good ones, spoiled ones, and such that Google echoes.
    fn keys_and_grants_are_handed_over(&mut self) {
        let mut file = self
            .google
            .order("/service-accounts", &json!({ "name": "robot" }));
        file["token_uri"] = json!(format!("{}/token", self.proxy.base_url));
        let pem = file["private_key"].as_str().unwrap().to_owned();
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        self.handed.push((
            "a private key, decoded".to_owned(),
            BASE64_STANDARD.decode(&body).unwrap(),
        ));
        self.handed.push(("a private key".to_owned(), body.into_bytes()));
        let scopes = ["openid", "email", "https://www.googleapis.com/auth/gmail.send"];
        let order = json!({ "account": "bob@example.com", "scopes": scopes });
        let grant = self.google.order("/grants", &order)["refresh_token"].clone();
        let grant = grant.as_str().unwrap().to_owned();
        self.handed
            .push(("a grant that was imported".to_owned(), grant.clone().into_bytes()));

        let whole = file.to_string();
        let misplaced = whole.replace("\"service_account\"", &file["private_key"].to_string());
        let key_in_every_field = json!({
            "type": "service_account", "client_email": pem, "private_key_id": pem, "private_key": pem, "token_uri": pem,
        });
        for wrong in [
            &whole[..whole.len() / 2],
            &whole.replace("robot", &grant),
            &misplaced,
            &key_in_every_field.to_string(),
            &pem,
        ] {
            assert_ne!(
                self.hand_over(&["service-account", "add", "--key", "-"], wrong)
                    .code,
                0
            );
        }
        let wrapped = json!({ "type": grant, "refresh_token": pem }).to_string();
        let elsewhere = json!({ "client_id": grant, "token_uri": grant, "refresh_token": pem }).to_string();
        for wrong in [&pem, &wrapped, &elsewhere, &format!("{grant} {grant}"), &whole] {
            assert_ne!(self.hand_over(&["integrations", "import"], wrong).code, 0);
        }
        for (command, input, said) in [
            (&["service-account", "add", "--key", "-"][..], &whole, &pem),
            (&["integrations", "import"], &grant, &grant),
        ] {
            for fault in [
                json!({ "endpoint": "token", "times": 1, "error": "invalid_grant", "error_description": said }),
                json!({ "endpoint": "token", "times": 1, "status": 200, "body": said }),
            ] {
                let id = self.google.fault(&fault);
                assert_ne!(self.hand_over(command, input).code, 0);
                self.google.clear_fault(&id);
            }
        }
        self.hand_over(&["service-account", "add", "--key", "-"], &whole)
            .expect_ok();
        self.hand_over(&["integrations", "import"], &grant).expect_ok();
        self.daemon
            .write_manifest("robots-bot", "carol", &["google.sa", CAPABILITIES[0]]);
        let agent = self.daemon.wait_for_state("robots-bot", "active");
        let robots = agent.get("/v1/token?integration=google-sa").expect_ok();
        let token = robots.json()["access_token"].as_str().unwrap().to_owned();
        assert!(self.google.is_alive(&token));
        self.handed
            .push(("a service account's token".to_owned(), token.into_bytes()));
    }

    /// A command with a secret on its standard input, for carol.
    fn hand_over(&self, command: &[&str], input: &str) -> Output {
        let mut command = self.daemon.command(&[command, &["--owner", "carol"]].concat());
        self.daemon.remember(Output::of_fed(&mut command, input))
    }

    /// Every command that shows something, every page, and every refusal of the socket.
    fn everything_is_asked(&mut self) {
        for command in [
            &["status"][..],
            &["doctor"],
            &["capabilities"],
            &["integrations", "list"],
            &["integrations", "show", "--owner", "alice"],
            &["integrations", "check", "--owner", "alice"],
            &["integrations", "list", "--owner", "carol"],
            &[
                "integrations",
                "check",
                "--owner",
                "carol",
                "--account",
                "robot@token-broker-emulator.iam.gserviceaccount.com",
            ],
            &["agents", "show", "robots-bot"],
            &["integrations", "disconnect", "--owner", "nobody", "--yes"],
            &["agents", "list"],
            &["agents", "show", "invoice-bot"],
            &["audit", "list"],
            &["audit", "verify"],
            &["connect", "--owner", "alice", "--capability", "google.everything"],
        ] {
            self.daemon.cli(command);
            self.daemon.cli(&[command, &["--output", "json", "-vv"]].concat());
        }
        for shell in ["bash", "zsh", "fish"] {
            self.daemon.cli(&["completions", shell]).expect_ok();
        }
        for path in [
            "/",
            "/healthz",
            "/readyz",
            "/agents/invoice-bot",
            "/agents/nobodys-bot",
            "/none",
        ] {
            let answer = self.daemon.page(path);
            self.page(&answer);
        }
        self.places.add("metrics", self.daemon.metrics());
        let agent = self.daemon.agent("invoice-bot");
        for path in [
            "/v1/status",
            "/v1/token?capability=google.drive",
            "/v1/token?min_ttl=x",
            "/v1/none",
        ] {
            self.places
                .add("a problem or status", agent.get(path).body.to_vec());
        }
        let nobodys = self.daemon.agent("nobodys-bot").get("/v1/token");
        assert_eq!(nobodys.json()["code"], "not_connected");
        self.places.add("a problem", nobodys.body.to_vec());
    }

    /// Google's libraries ask, well and badly.
    fn libraries_ask(&mut self) {
        let (client_secret, token) = (&self.google.client_secret, self.proxy.values("access_token"));
        let token = token.last().unwrap();
        let mut answers = Vec::new();
        for name in ["invoice-bot", "nobodys-bot"] {
            let file = self.daemon.agent(name).credential_file().unwrap();
            let secret = file.get("client_secret");
            self.agent_secrets.push(secret.to_owned());
            let form = format!("grant_type=refresh_token&refresh_token={secret}");
            answers.extend([
                file.post(name, secret, &form),
                file.post(secret, name, &form),
                file.post(client_secret, token, &form),
                file.post_with(&[("authorization", &format!("Bearer {secret}"))], &form),
                file.post(name, secret, &format!("grant_type={secret}")),
            ]);
            if name == "nobodys-bot" {
                answers.push(file.refresh());
            } else {
                assert_eq!(file.refresh().status, 200);
            }
        }
        for path in [
            format!("/computeMetadata/v1/{token}"),
            format!("/computeMetadata/v1/instance/service-accounts/{client_secret}/token"),
        ] {
            answers.push(self.daemon.metadata(&path));
            answers.push(
                self.daemon
                    .metadata_with(&path, &[("x-forwarded-for", token.as_str())]),
            );
        }
        for answer in &answers {
            assert!(!answer.status.is_success());
            self.page(answer);
        }
    }

    /// What other processes see of the daemon.
    fn read_process(&mut self) {
        let proc = format!("/proc/{}", self.daemon.pid());
        for file in ["cmdline", "environ"] {
            self.places.add(file, fs::read(format!("{proc}/{file}")).unwrap());
        }
    }

    /// The database, as it lies on the disk, and the agents' directories.
    fn kept_files(&mut self) {
        self.places.add_files(&self.daemon.state_dir(), &[]);
        // An access token belongs there, and nothing else.
        let delivered = ["env", "access_token", "adc.json", "adc-external.json"];
        self.places.add_files(&self.daemon.runtime_dir(), &delivered);
    }

    /// The grant is given up, while the provider fails, too.
    fn disconnect(&mut self) {
        let refresh_token = self.proxy.values("refresh_token").pop().unwrap();
        let said = format!("token={refresh_token}");
        self.google
            .fault(&json!({ "endpoint": "revoke", "status": 400, "body": said }));
        let disconnected = self
            .daemon
            .cli(&["integrations", "disconnect", "--owner", "alice", "--yes"]);
        assert!(!disconnected.stdout.is_empty() || !disconnected.stderr.is_empty());
        self.google.clear_faults();
        let agent = self.daemon.wait_for_state("invoice-bot", "not_connected");
        wait_until("the token's file to go", || {
            agent.try_read("access_token").is_none()
        });
        self.kept_files();
    }

    /// All that must not be found.
    fn secrets(&self) -> Secrets {
        let mut secrets = Secrets::default();
        secrets.add("the client secret", self.google.client_secret.as_bytes());
        let key = fs::read_to_string(self.daemon.key_file()).unwrap();
        secrets.add("the master key's text", key.trim().as_bytes());
        secrets.add("the master key", &BASE64_STANDARD.decode(key.trim()).unwrap());
        assert!(self.agent_secrets.len() >= 4);
        for secret in &self.agent_secrets {
            secrets.add("an agent's secret", secret.as_bytes());
        }
        for (name, secret) in &self.handed {
            secrets.add(name, secret);
        }
        for (field, least) in [
            ("assertion", 3),
            ("client_secret", 1),
            ("access_token", 6),
            ("refresh_token", 6),
            ("id_token", 4),
            ("code", 4),
            ("code_verifier", 4),
        ] {
            let values = self.proxy.values(field);
            assert!(
                values.len() >= least,
                "{field} came by only {} times",
                values.len()
            );
            for value in values {
                secrets.add(&format!("the {field} {value}"), value.as_bytes());
            }
        }
        secrets
    }
}
