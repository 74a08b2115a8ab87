//! Service accounts and imported grants: the real program, with an emulated Google.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{CLIENT_ID, Daemon, Emulator, Output, wait_until};

const SA: &str = "google.sa";
const SEND: &str = "google.gmail.send";
const SCOPE_SEND: &str = "https://www.googleapis.com/auth/gmail.send";
const SCOPE_MAIL: &str = "https://www.googleapis.com/auth/gmail.readonly";
const ROBOT: &str = "robot@token-broker-emulator.iam.gserviceaccount.com";
const ALICE: &str = "alice@example.com";

/// Key files, in a folder of their own.
struct Keys {
    folder: TempDir,
    /// What no key file's content may be found of.
    secrets: Vec<String>,
}

impl Keys {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            secrets: Vec::new(),
        }
    }

    /// A new key of the emulator's service account; the one before ends with it.
    fn make(&mut self, google: &Emulator, name: &str) -> (PathBuf, Value) {
        let file = google.order("/service-accounts", &json!({ "name": "robot" }));
        (self.write(name, &file), file)
    }

    fn write(&mut self, name: &str, file: &Value) -> PathBuf {
        let lines = file["private_key"].as_str().unwrap_or_default().lines();
        let secret = lines.filter(|line| line.len() > 40 && !line.starts_with("-----"));
        self.secrets.extend(secret.map(|line| line[..32].to_owned()));
        let path = self.folder.path().join(name);
        fs::write(&path, file.to_string()).unwrap();
        path
    }

    fn search(&self, daemon: &Daemon) {
        let secrets: Vec<&str> = self.secrets.iter().map(String::as_str).collect();
        assert!(secrets.len() > 10);
        daemon.scan_for_secrets(&secrets);
    }
}

fn add(daemon: &Daemon, key: &std::path::Path, extra: &[&str]) -> Output {
    let key = key.to_str().unwrap();
    let command = ["service-account", "add", "--owner", "alice", "--key", key];
    daemon.cli(&[&command[..], extra].concat())
}

#[test]
fn a_service_account_is_added_used_renewed_replaced_and_let_go() {
    let google = Emulator::start(&["--token-lifetime", "6s"]);
    let daemon = Daemon::new(&google);
    let mut keys = Keys::new();
    daemon.write_manifest("robot-bot", "alice", &[SA]);
    daemon.start();
    let agent = daemon.wait_for_state("robot-bot", "not_connected");
    assert!(
        agent.variable("TOKEN_BROKER_ACTION_URL").is_none(),
        "no person can add one"
    );
    let page = daemon.page("/agents/robot-bot");
    assert!(
        page.text()
            .contains("token-broker service-account add --owner alice"),
        "{}",
        page.text()
    );

    let (first_key, _) = keys.make(&google, "first.json");
    let added = add(&daemon, &first_key, &[]).expect_ok();
    assert!(
        added.stdout.contains(&format!("share files with: {ROBOT}")),
        "{added:?}"
    );
    let agent = daemon.wait_for_state("robot-bot", "active");
    let env = agent.env();
    let names: Vec<&str> = env.lines().filter_map(|line| line.split('=').next()).collect();
    assert_eq!(
        names,
        [
            "GOOGLE_SA_ACCESS_TOKEN",
            "GOOGLE_SA_TOKEN_EXPIRES_AT",
            "GOOGLE_SA_EMAIL",
            "TOKEN_BROKER_STATE"
        ]
    );
    assert_eq!(agent.variable("GOOGLE_SA_EMAIL").as_deref(), Some(ROBOT));
    assert_eq!(agent.status()["service_account"], ROBOT);
    assert_eq!(agent.status()["account"], Value::Null);

    // It works, in every way of asking for it, and is renewed ahead of time.
    let token = || agent.variable("GOOGLE_SA_ACCESS_TOKEN");
    let renewed = |old: Option<String>| {
        wait_until("another token", || token().is_some() && token() != old);
        token()
    };
    let second = renewed(token());
    let files = google.call("/drive/v3/files", second.as_deref().unwrap());
    assert_eq!(files.status, 200, "{}", files.text());
    for query in ["", "?integration=google-sa", "?capability=google.sa"] {
        let answer = agent.get(&format!("/v1/token{query}")).expect_ok().json();
        assert_eq!(answer["capabilities"], json!([SA]));
        assert!(google.is_alive(answer["access_token"].as_str().unwrap()));
    }
    let refused = agent.get("/v1/token?integration=google");
    assert_eq!(refused.json()["code"], "not_declared");
    let printed = daemon.cli(&["token", "--agent", "robot-bot", "--integration", "google-sa"]);
    assert!(google.is_alive(printed.expect_ok().stdout.trim()));
    let file = agent.read("access_token");
    assert!(google.is_alive(&file));

    // The key is replaced, with the old one gone at once: no moment without a token.
    let mut events = agent.watch();
    let (second_key, _) = keys.make(&google, "second.json");
    let replaced = add(&daemon, &second_key, &["--output", "json"])
        .expect_ok()
        .json();
    assert_eq!(
        (&replaced["replaced"], &replaced["kind"]),
        (&json!(true), &json!("google-sa"))
    );
    let before = token();
    renewed(before);
    let mut told = 0;
    while told < 2 {
        let (event, data) = events.next().unwrap();
        assert_eq!(event, "token", "{data}");
        told += 1;
    }
    // The old one is told to be no good any more, and changes nothing.
    let refused = add(&daemon, &first_key, &[]).expect(7);
    assert!(refused.stderr.contains("Invalid JWT Signature"), "{refused:?}");
    assert!(refused.stderr.contains("Nothing was stored"), "{refused:?}");
    daemon.restart();
    let agent = daemon.wait_for_state("robot-bot", "active");

    let checked = daemon.cli(&["integrations", "check", "--owner", "alice", "--output", "json"]);
    assert_eq!(checked.expect_ok().json()["state"], "active");
    let shown = daemon
        .cli(&["integrations", "disconnect", "--owner", "alice", "--yes"])
        .expect_ok();
    assert!(shown.stdout.contains("the key lives on there"), "{shown:?}");
    assert_eq!(
        agent.variable("TOKEN_BROKER_STATE").as_deref(),
        Some("not_connected")
    );
    assert!(agent.try_read("access_token").is_none());
    assert_eq!(google.count("revoke"), 0);
    keys.search(&daemon);
}

#[test]
fn a_key_file_that_is_no_good_is_told_what_is_wrong_with_it() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    let mut keys = Keys::new();
    daemon.start();
    let (_, good) = keys.make(&google, "good.json");
    let with = |field: &str, value: Value| {
        let mut file = good.clone();
        file[field] = value;
        file
    };
    let cut = good["private_key"].as_str().unwrap()[..200].to_owned();
    for (file, words) in [
        (with("type", json!("authorized_user")), "integrations import"),
        (with("client_email", json!("")), "it has no `client_email`"),
        (with("private_key", json!(cut)), "is not an RSA key"),
        (with("private_key_id", json!("another")), "Invalid JWT Signature"),
        (
            with("client_email", json!("nobody@example.com")),
            "account not found",
        ),
        (
            with("token_uri", json!("https://evil.example/token")),
            "`https://evil.example/token`",
        ),
        (
            with("token_uri", json!("https://oauth2.googleapis.com/token")),
            "sends assertions to http://127.0.0.1",
        ),
    ] {
        let path = keys.write("wrong.json", &file);
        let refused = add(&daemon, &path, &[]).expect(7);
        assert!(refused.stderr.contains(words), "{words}: {refused:?}");
        assert!(refused.stderr.contains("Nothing was stored"), "{refused:?}");
    }
    let mut command = daemon.command(&["service-account", "add", "--owner", "alice", "--key", "-"]);
    let refused = daemon.remember(Output::of_fed(&mut command, "{\"type\": \"service_account\""));
    assert!(
        refused.stderr.contains("cut off or broken at line 1"),
        "{refused:?}"
    );
    add(&daemon, &keys.folder.path().join("nowhere.json"), &[]).expect(2);
    let listed = daemon
        .cli(&["integrations", "list", "--output", "json"])
        .expect_ok()
        .json();
    assert_eq!(listed["integrations"], json!([]));
    keys.search(&daemon);
}

#[test]
fn a_person_and_a_service_account_work_side_by_side() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    let mut keys = Keys::new();
    daemon.write_manifest("both", "alice", &[SEND, SA]);
    daemon.start();
    let (key, _) = keys.make(&google, "key.json");
    add(&daemon, &key, &[]).expect_ok();
    let both = daemon.wait_for_state("both", "not_connected");
    assert!(
        both.variable("GOOGLE_SA_ACCESS_TOKEN").is_none(),
        "the person's account is required"
    );
    // Beside a service account the person's is still the first.
    daemon.connect("alice", &[SEND]).expect_ok();
    let both = daemon.wait_for_state("both", "active");
    let (person, robot) = (
        both.token().unwrap(),
        both.variable("GOOGLE_SA_ACCESS_TOKEN").unwrap(),
    );
    assert_eq!(
        both.variable("GOOGLE_OAUTH_CAPABILITIES").unwrap(),
        format!("{SEND},{SA}")
    );
    assert_eq!(both.read("access_token"), person);
    assert_eq!(google.call("/drive/v3/files", &robot).status, 200);
    assert_eq!(google.call("/drive/v3/files", &person).status, 403);
    let status = both.status();
    assert_eq!(
        (&status["account"], &status["service_account"]),
        (&json!(ALICE), &json!(ROBOT))
    );
    let of_robot = both.get("/v1/token?integration=google-sa").expect_ok().json();
    assert_eq!(of_robot["access_token"], robot);
    let listed = daemon
        .cli(&["integrations", "list", "--output", "json"])
        .expect_ok()
        .json();
    let kinds: Vec<&Value> = listed["integrations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["kind"])
        .collect();
    assert_eq!(kinds, ["google", "google-sa"]);

    // The person withdraws: neither token is left.
    google.revoke(ALICE);
    let which = ["integrations", "check", "--owner", "alice", "--account", ALICE];
    daemon.cli(&which).expect(5);
    let both = daemon.wait_for_state("both", "reconnect_required");
    assert!(!both.env().contains("ACCESS_TOKEN"), "{}", both.env());
    assert!(both.try_read("access_token").is_none());
    keys.search(&daemon);
}

#[test]
fn a_service_account_acts_for_a_person_as_far_as_the_administrator_delegated() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::with(&google, &[]);
    let capability =
        "\n[[capabilities]]\nkey = \"corp.mail\"\ntitle = \"Read mail\"\nintegration = \"google-sa\"\n";
    let config = fs::read_to_string(daemon.config_file()).unwrap();
    fs::write(
        daemon.config_file(),
        format!("{config}{capability}scopes = [\"{SCOPE_MAIL}\"]\n"),
    )
    .unwrap();
    let mut keys = Keys::new();
    daemon.write_manifest("mail", "alice", &["corp.mail"]);
    daemon.write_manifest("files", "alice", &[SA]);
    daemon.start();
    let (key, _) = keys.make(&google, "key.json");
    let refused = add(&daemon, &key, &["--subject", ALICE]).expect(7);
    assert!(
        refused
            .stderr
            .contains("The domain's administrator has not delegated"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("Client id: 1"), "{refused:?}");

    let order = json!({ "name": "robot", "delegated_scopes": [SCOPE_MAIL] });
    let delegated = google.order("/service-accounts", &order);
    let key = keys.write("delegated.json", &delegated);
    let added = add(&daemon, &key, &["--subject", ALICE]).expect_ok();
    assert!(added.stdout.contains(&format!("acts for: {ALICE}")), "{added:?}");
    let mail = daemon.wait_for_state("mail", "active");
    let token = mail.variable("GOOGLE_SA_ACCESS_TOKEN").unwrap();
    let profile = google
        .call("/gmail/v1/users/me/profile", &token)
        .expect_ok()
        .json();
    assert_eq!(profile["emailAddress"], ALICE);
    let files = daemon.wait_for_state("files", "permission_missing");
    assert!(
        files.status()["message"]
            .as_str()
            .unwrap()
            .contains("the domain's administrator")
    );
    keys.search(&daemon);
}

#[test]
fn a_platforms_grant_is_imported_and_renewed_here() {
    let google = Emulator::start(&["--token-lifetime", "6s", "--rotation", "strict"]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    let seed = |account: &str, scopes: &[&str]| {
        let order = json!({ "account": account, "scopes": scopes });
        let token = google.order("/grants", &order)["refresh_token"].clone();
        token.as_str().unwrap().to_owned()
    };
    let import = |input: &str, extra: &[&str]| {
        let command = ["integrations", "import", "--owner", "alice"];
        let mut command = daemon.command(&[&command[..], extra].concat());
        daemon.remember(Output::of_fed(&mut command, input))
    };
    let anonymous = seed(ALICE, &[SCOPE_SEND]);
    let refused = import(&anonymous, &[]).expect(5);
    assert!(refused.stderr.contains("lacks the scope `openid`"), "{refused:?}");
    let useless = seed(ALICE, &["openid", "email"]);
    assert!(
        import(&useless, &[])
            .expect(5)
            .stderr
            .contains("covers no capability")
    );
    assert!(
        import("1//emu-nobody", &[])
            .expect(5)
            .stderr
            .contains("invalid_grant")
    );
    let dead = seed("bob@example.com", &["openid", SCOPE_SEND]);
    google.revoke("bob@example.com");
    assert!(import(&dead, &[]).expect(5).stderr.contains("Nothing was stored"));
    let grant = seed(ALICE, &["openid", "email", SCOPE_SEND]);
    let file =
        |client: &str| json!({ "type": "authorized_user", "client_id": client, "refresh_token": grant });
    let others = import(&file("another").to_string(), &[]).expect(7);
    assert!(others.stderr.contains("the OAuth client another"), "{others:?}");
    let listed = daemon
        .cli(&["integrations", "list", "--output", "json"])
        .expect_ok()
        .json();
    assert_eq!(listed["integrations"], json!([]));

    let imported = import(&file(CLIENT_ID).to_string(), &["--output", "json"])
        .expect_ok()
        .json();
    assert_eq!(
        (&imported["account"], &imported["replaced"]),
        (&json!(ALICE), &json!(false))
    );
    assert_eq!(imported["capabilities"], json!([SEND]));
    daemon.wait_for_state("bot", "active");
    let first = daemon.wait_for_token("bot", None);
    let second = daemon.wait_for_token("bot", Some(&first));
    assert!(google.is_alive(&second));

    // Another account's grant does not slip in, unless it is said to be another.
    let bobs = seed("bob@example.com", &["openid", "email", SCOPE_SEND]);
    let refused = import(&bobs, &[]).expect(5);
    assert!(
        refused.stderr.contains("but bob@example.com was chosen"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("works no more"), "{refused:?}");
    google.set_rotation("off");
    let bobs = seed("bob@example.com", &["openid", "email", SCOPE_SEND]);
    let refused = import(&bobs, &[]).expect(5);
    assert!(!refused.stderr.contains("works no more"), "{refused:?}");
    import(&bobs, &["--account", "bob@example.com"]).expect_ok();
    daemon.scan_for_secrets(&[&anonymous, &useless, &dead, &grant, &bobs]);
}
