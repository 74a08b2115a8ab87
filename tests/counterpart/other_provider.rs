//! A provider that is not Google: the configuration names its issuer, and everything else is as for Google, up to the file
//! that an agent reads.

use std::{
    fs::{self, Permissions},
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
};

use http::Method;
use serde_json::json;

use crate::{
    browser::Browser,
    provider::{CLIENT_ID, CLIENT_SECRET, Provider, connect},
    support::{Agent, Connecting, Daemon, Emulator, request},
};

const MAIL: &str = "google.gmail.send";
const FILES: &str = "acme.files.read";
const NOTES: &str = "acme.notes.write";

/// A daemon with Google, as emulated, and with the counterpart as a provider beside it.
fn daemon(google: &Emulator, acme: &Provider) -> Daemon {
    let daemon = Daemon::new(google);
    let secret = daemon.config_dir().join("acme.secret");
    fs::write(&secret, CLIENT_SECRET).unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let client = format!("client_id = \"{CLIENT_ID}\"\nclient_secret_file = \"acme.secret\"");
    let capabilities = [
        (FILES, "Read files", "files.read"),
        (NOTES, "Write notes", "notes.write"),
    ];
    acme.configure(&daemon, &client, &capabilities);
    daemon
}

#[test]
fn an_agent_has_a_token_of_another_provider_beside_googles() {
    let (google, acme) = (Emulator::start(&[]), Provider::start());
    let daemon = daemon(&google, &acme);
    daemon.write_manifest("both-bot", "alice", &[MAIL, FILES]);
    daemon.write_manifest("acme-bot", "alice", &[FILES]);
    daemon.start();
    let page = daemon.page("/agents/both-bot").text().to_owned();
    assert_eq!(
        commands(&page),
        [
            "token-broker connect --owner alice --capability google.gmail.send",
            "token-broker connect --owner alice --capability acme.files.read",
        ],
        "one consent after the other"
    );
    let missing = daemon.wait_for_state("acme-bot", "not_connected");
    assert!(
        missing.status()["message"]
            .as_str()
            .unwrap()
            .contains("an account at Acme")
    );

    let connected = connect(&daemon, ("alice", "alice"), &[FILES, NOTES], &[]).expect_ok();
    assert!(connected.stdout.contains("alice@example.com"), "{connected:?}");
    let alone = daemon.wait_for_state("acme-bot", "active");
    let env = alone.env();
    assert!(
        env.contains("ACME_OAUTH_ACCESS_TOKEN=") && env.contains("ACME_OAUTH_TOKEN_EXPIRES_AT="),
        "{env}"
    );
    assert!(env.contains("ACME_OAUTH_CAPABILITIES=acme.files.read\n"), "{env}");
    assert!(!env.contains("GOOGLE_"), "{env}");
    let token = alone.get("/v1/token").expect_ok().json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        acme.scopes_of(&token).unwrap(),
        ["files.read"],
        "narrowed to what it declares"
    );

    let listed = daemon.cli(&["status"]).expect_ok().stdout;
    assert!(listed.contains("acme: alice@example.com"), "{listed}");

    // Google's own libraries are not given what means nothing to Google.
    let refused = metadata_token(&alone);
    assert!(
        refused.starts_with("HTTP/1.1 403") && !refused.contains(&token),
        "{refused}"
    );
    assert!(
        refused.contains("declares no capability of a person's Google account"),
        "{refused}"
    );

    // Google's account is another account of the same owner: neither replaces the other.
    let connecting = Connecting::start(&daemon, "alice", &[MAIL], &[]).unwrap();
    connecting.approve();
    connecting.finish().expect_ok();
    let both = daemon.wait_for_state("both-bot", "active");
    let env = both.env();
    let lines: Vec<&str> = env
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    assert_eq!(
        lines,
        [
            "GOOGLE_OAUTH_ACCESS_TOKEN",
            "GOOGLE_OAUTH_TOKEN_EXPIRES_AT",
            "GOOGLE_OAUTH_CAPABILITIES",
            "ACME_OAUTH_ACCESS_TOKEN",
            "ACME_OAUTH_TOKEN_EXPIRES_AT",
            "ACME_OAUTH_CAPABILITIES",
            "TOKEN_BROKER_STATE",
        ]
    );
    assert!(
        env.contains("GOOGLE_OAUTH_CAPABILITIES=google.gmail.send\n"),
        "{env}"
    );
    let asked = |query: &str| {
        let answer = both.get(&format!("/v1/token{query}")).expect_ok().json();
        answer["access_token"].as_str().unwrap().to_owned()
    };
    assert!(acme.is_alive(&asked("?integration=acme")));
    assert_eq!(asked("?capability=acme.files.read"), asked("?integration=acme"));
    assert_ne!(asked(""), asked("?integration=acme"));
    assert_eq!(both.status()["accounts"], json!({ "acme": "alice@example.com" }));
    assert_eq!(both.get("/v1/token?integration=other").status, 400);
}

/// The commands that an agent's page shows.
fn commands(page: &str) -> Vec<&str> {
    let blocks = page.split("<pre><code>").skip(1);
    blocks.filter_map(|block| block.split("</code>").next()).collect()
}

/// The operator's page of the console at this path.
pub(crate) fn in_console(daemon: &Daemon, path: &str) -> String {
    let link = daemon.cli(&["console", "--no-browser"]).expect_ok().stdout;
    let (_, token) = link.trim_end().split_once("link=").unwrap();
    let origin = daemon.http();
    let signed_in = request(
        Method::POST,
        &format!("{origin}/console/sign-in"),
        &[
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", &origin),
            ("sec-fetch-site", "same-origin"),
        ],
        format!("link={token}"),
    )
    .unwrap();
    let cookie = signed_in
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let page = request(
        Method::GET,
        &format!("{origin}{path}"),
        &[("cookie", &cookie)],
        String::new(),
    );
    page.unwrap().expect_ok().text().to_owned()
}

#[test]
fn where_its_grant_ends_the_person_is_led_to_it_and_not_to_google() {
    let (google, acme) = (Emulator::start(&[]), Provider::start());
    let daemon = daemon(&google, &acme);
    daemon.write_manifest("both-bot", "alice", &[MAIL, FILES]);
    daemon.start();
    connect(&daemon, ("alice", "alice"), &[FILES], &[]).expect_ok();
    let connecting = Connecting::start(&daemon, "alice", &[MAIL], &[]).unwrap();
    connecting.approve();
    connecting.finish().expect_ok();
    let both = daemon.wait_for_state("both-bot", "active");

    // Somebody else uses the grant, so that ours is spent.
    let grant = acme.refresh_tokens(false).pop().unwrap();
    acme.present(&grant).expect_ok();
    both.get("/v1/token?integration=acme&refresh=true");
    let both = daemon.wait_for_state("both-bot", "reconnect_required");
    let page = daemon.page("/agents/both-bot").text().to_owned();
    assert_eq!(
        commands(&page),
        ["token-broker connect --owner alice --capability acme.files.read"]
    );
    let page = in_console(&daemon, "/console/agents/both-bot");
    let button = "<a class=\"button primary\" href=\"/console/connect?agent=both-bot\">Connect again</a>";
    assert!(page.contains(button), "{page}");
    let page = in_console(&daemon, "/console/connect?agent=both-bot");
    assert!(
        page.contains("Continue to Acme") && page.contains("Connect the account again"),
        "{page}"
    );
    assert!(!page.contains("Google"), "{page}");
    let message = both.status()["message"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with("Acme no longer accepts this grant"),
        "{message}"
    );
}

/// What Google's libraries are answered that ask for a token on the agent's socket.
fn metadata_token(agent: &Agent) -> String {
    let mut socket = UnixStream::connect(agent.socket()).unwrap();
    let request = "GET /computeMetadata/v1/instance/service-accounts/default/token HTTP/1.1\r\nhost: broker\r\n\
                   metadata-flavor: Google\r\nconnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_provider_that_cannot_be_told_from_another_is_refused_at_the_start() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    let written = fs::read_to_string(daemon.config_file()).unwrap();
    let entry = |id: &str, rest: &str| {
        format!(
            "\n[[providers]]\nid = \"{id}\"\ntype = \"oidc\"\nissuer = \"https://{id}.example\"\nclient_id = \"x\"\n{rest}\n"
        )
    };
    let acme = entry("acme", "");
    for (more, words) in [
        (
            entry("google", ""),
            "provider `google`: there is such a provider already",
        ),
        (
            entry("acme", "env_prefix = \"GOOGLE\""),
            "env_prefix: expected capital letters",
        ),
        (
            format!("{acme}{}", entry("other", "env_prefix = \"ACME\"")),
            "another provider has `ACME_OAUTH_ACCESS_TOKEN`",
        ),
        (
            entry("acme", "").replace("oidc", "saml"),
            "type: expected \"oidc\"",
        ),
        (
            entry("acme", "isuer = \"x\""),
            "isuer: there is no such key: did you mean issuer?",
        ),
        (
            entry("acme", "").replace("https", "http"),
            "issuer: expected an https address",
        ),
        (
            entry("acme", "client_secret_file = \"gone\""),
            "client_secret_file",
        ),
    ] {
        fs::write(daemon.config_file(), format!("{written}{more}")).unwrap();
        let refused = daemon.try_start().unwrap_err();
        assert_eq!(refused.code, 7, "{refused:?}");
        assert!(refused.stderr.contains(words), "{words}: {refused:?}");
    }
}

#[test]
fn a_grant_is_imported_for_the_provider_that_is_named_and_never_sent_to_another() {
    let (google, acme) = (Emulator::start(&[]), Provider::start());
    let daemon = daemon(&google, &acme);
    daemon.start();
    connect(&daemon, ("alice", "alice"), &[FILES], &[]).expect_ok();
    let grant = acme.refresh_tokens(false).pop().unwrap();
    let file = daemon.config_dir().join("grant");
    fs::write(&file, &grant).unwrap();
    let import = |more: &[&str]| {
        let mut args = vec![
            "integrations",
            "import",
            "--owner",
            "bob",
            "--from",
            file.to_str().unwrap(),
        ];
        args.extend(more);
        daemon.cli(&args)
    };
    let before = google.count("refresh");
    let unclear = import(&[]);
    assert!(
        unclear.stderr.contains("name google or acme as the integration"),
        "{unclear:?}"
    );
    assert_eq!(unclear.code, 2, "{unclear:?}");
    let unknown = import(&["--integration", "other"]);
    assert!(
        unknown.stderr.contains("there is no integration `other`"),
        "{unknown:?}"
    );
    assert_eq!(unknown.code, 4, "{unknown:?}");
    assert_eq!(google.count("refresh"), before, "Google saw nothing of it");
    let imported = import(&["--integration", "acme"]).expect_ok();
    assert!(
        imported.stdout.contains("Imported alice@example.com for bob"),
        "{imported:?}"
    );
}

#[test]
fn its_tokens_are_renewed_in_the_file_and_rotated_grants_are_kept() {
    let (google, acme) = (Emulator::start(&[]), Provider::start());
    acme.order("lifetime", &json!({ "seconds": 20 }));
    let daemon = daemon(&google, &acme);
    daemon.write_manifest("acme-bot", "alice", &[FILES]);
    daemon.start();
    connect(&daemon, ("alice", "alice"), &[FILES], &[]).expect_ok();
    let bot = daemon.wait_for_state("acme-bot", "active");
    let first = bot.env();
    crate::support::wait_until("the file to have another token", || {
        let env = bot.env();
        env.contains("ACME_OAUTH_ACCESS_TOKEN=") && env != first
    });
    daemon.restart();
    let before = acme.count("refreshes");
    acme.wait_for_count("refreshes", before + 1);
    acme.expect_no_reuse();
}

#[test]
fn a_grant_that_ends_there_and_a_disconnect_are_told_as_for_google() {
    let (google, acme) = (Emulator::start(&[]), Provider::start());
    let daemon = daemon(&google, &acme);
    daemon.write_manifest("acme-bot", "alice", &[FILES]);
    daemon.start();
    let connecting = Connecting::start(&daemon, "alice", &[FILES], &[]).unwrap();
    let page = Browser::default().decline(connecting.url.as_str());
    assert!(
        page.text().contains("the consent was declined") && !page.text().contains("Google"),
        "{}",
        page.text()
    );
    let declined = connecting.finish();
    assert_ne!(declined.code, 0);
    assert!(
        declined.stderr.contains("The consent was declined"),
        "{declined:?}"
    );
    assert!(!declined.stderr.contains("Google"), "{declined:?}");
    let alone = ["connect", "--owner", "alice", "--no-browser", "--timeout", "1s"];
    let nobody = daemon.cli(&[&alone[..], &["--capability", FILES]].concat());
    assert!(nobody.stderr.contains("nobody came back from Acme"), "{nobody:?}");
    assert!(!nobody.stderr.contains("Google"), "{nobody:?}");
    connect(&daemon, ("alice", "alice"), &[FILES], &[]).expect_ok();
    daemon.wait_for_state("acme-bot", "active");
    let listed = daemon
        .cli(&["integrations", "list", "--output", "json"])
        .expect_ok();
    assert!(
        listed.stdout.contains("\"kind\":\"acme\"") || listed.stdout.contains("\"kind\": \"acme\""),
        "{listed:?}"
    );

    // Both kinds of capabilities are not asked of one provider.
    let mixed = daemon.cli(&[
        "connect",
        "--owner",
        "alice",
        "--no-browser",
        "--capability",
        FILES,
        "--capability",
        MAIL,
    ]);
    assert!(mixed.stderr.contains("belong to several providers"), "{mixed:?}");
    assert_eq!(mixed.code, 2, "{mixed:?}");

    let gone = daemon
        .cli(&["integrations", "disconnect", "--owner", "alice", "--yes"])
        .expect_ok();
    assert!(gone.stdout.contains("revocation at Acme: confirmed"), "{gone:?}");
    daemon.wait_for_state("acme-bot", "not_connected");
    assert_eq!(acme.refresh_tokens(false), Vec::<String>::new(), "revoked there");
}
