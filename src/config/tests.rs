//! The whole configuration, as an operator writes it.

use std::{
    fs,
    os::unix::{ffi::OsStringExt, fs::PermissionsExt},
    time::Duration,
};

use super::*;

const FILE: &str = "/etc/token-broker/config.toml";

fn parse(text: &str, env: &[(&str, &str)]) -> Result<Config, String> {
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::from_parts(Path::new(FILE), Some(text), env).map_err(|error| error.to_string())
}

fn refused(text: &str) -> String {
    parse(text, &[]).err().unwrap()
}

#[test]
fn the_documented_file_is_read() {
    let config = parse(
        r#"
state_dir = "/var/lib/token-broker"
runtime_dir = "/run/token-broker"
http_listen = "127.0.0.1:8420"
public_url = "http://127.0.0.1:8420"

[key]
source = "file:/etc/token-broker/master.key"

[google]
client_id = "1234.apps.googleusercontent.com"
client_secret_file = "/etc/token-broker/client_secret"
client_type = "web"
endpoint_base = "http://127.0.0.1:9005"
"#,
        &[],
    )
    .unwrap();
    assert_eq!(
        config.google.endpoint_base.unwrap().as_str(),
        "http://127.0.0.1:9005/"
    );
    assert_eq!(
        config.google.redirect_uri.as_str(),
        "http://127.0.0.1:8420/oauth/callback"
    );
    assert_eq!(config.key.source.to_string(), "file:/etc/token-broker/master.key");
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn nothing_at_all_gives_the_defaults() {
    let config = parse("", &[]).unwrap();
    assert_eq!(config.state_dir, Path::new("/var/lib/token-broker"));
    assert_eq!(config.runtime_dir, Path::new("/run/token-broker"));
    assert_eq!(config.public_url.as_str(), "http://127.0.0.1:8420/");
    assert_eq!(config.key.source.to_string(), "file:/etc/token-broker/master.key");
    assert_eq!(config.agents_dir(), Path::new("/etc/token-broker/agents.d"));
    assert_eq!(config.renewal.concurrency, 64);
    assert_eq!(config.audit.retention_days, 365);
    assert_eq!(config.audit.max_bytes, 512 * 1024 * 1024);
    assert_eq!(config.connect.timeout, Duration::from_secs(600));
    assert_eq!(config.log.level, "info");
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    for (text, message) in [
        (
            "stat_dir = 'x'",
            ":1: stat_dir: there is no such key: did you mean state_dir?",
        ),
        (
            "\n[google]\n# no\nclientid = 'x'",
            ":4: google.clientid: there is no such key: did you mean google.client_id?",
        ),
        (
            "[kye]\nsource = 'x'",
            ":1: kye: there is no such key: did you mean [key]?",
        ),
        (
            "[[provider]]\nid = 'x'",
            ":1: provider: there is no such key: did you mean [[providers]]?",
        ),
        (
            "[provider]\nid = 'x'",
            ":1: provider: there is no such key: did you mean [[providers]]?",
        ),
        (
            "\n[[capability]]\nkey = 'x'",
            ":2: capability: there is no such key: did you mean [[capabilities]]?",
        ),
        (
            "[[admin.client]]\nname = 'x'",
            ":1: admin.client: there is no such key: did you mean [[admin.clients]]?",
        ),
        ("[unheard]\nof = 'x'", ":1: unheard: there is no such key"),
        ("google.web.id = 1", ":1: google.web: there is no such key"),
        (
            "google = 3",
            ":1: google: expected a section, written as [google]",
        ),
        (
            "[state_dir]\nx = 1",
            ":1: state_dir is a value of type table: expected a text in quotes",
        ),
    ] {
        assert_eq!(refused(text), format!("{FILE}{message}"), "{text}");
    }
}

#[test]
fn a_wrong_value_is_named_with_key_and_what_is_expected() {
    for (text, message) in [
        (
            "http_listen = 'here'",
            ":1: http_listen is \"here\": expected an address and port, such as 127.0.0.1:8420",
        ),
        ("state_dir = 3", ":1: state_dir is 3: expected a text in quotes"),
        (
            "[renewal]\nconcurrency = 0",
            ":2: renewal.concurrency is 0: expected a whole number from 1 to 1024",
        ),
        (
            "[audit]\nmax_bytes = 16777215",
            ":2: audit.max_bytes is 16777215: expected a whole number from 16777216 to 1099511627776",
        ),
        (
            "[audit]\nretention_days = 7\nmax_bytes = 1_099_511_627_777",
            ":3: audit.max_bytes is 1099511627777: expected a whole number from 16777216 to 1099511627776",
        ),
        (
            "[audit]\nmax_bytes = '512 MiB'",
            ":2: audit.max_bytes is \"512 MiB\": expected a whole number from 16777216 to 1099511627776",
        ),
        (
            "[renewal]\nconcurrency = '64'",
            ":2: renewal.concurrency is \"64\": expected a whole number from 1 to 1024",
        ),
        (
            "[log]\nformat = 'xml'",
            ":2: log.format is \"xml\": expected \"text\" or \"json\"",
        ),
        (
            "[log]\nlevel = 'loud'",
            ":2: log.level is \"loud\": expected error, warn, info, debug or trace, or a list such as \
             \"info,token_broker=debug\"",
        ),
        (
            "public_url = 'https://x.example/?a=b'",
            ":1: public_url is \"https://x.example/?a=b\": expected an http:// or https:// URL without user, \
             query or fragment",
        ),
        (
            "[key]\nsource = '/etc/master.key'",
            ":2: key.source is \"/etc/master.key\": expected file:PATH, env:VARIABLE, credential:NAME, \
             command:PROGRAM ARGUMENTS, kms:unix://SOCKET or transit:https://HOST/v1/MOUNT/keys/NAME",
        ),
        (
            "[connect]\nreturn_url_origins = 'https://x.example'",
            ":2: connect.return_url_origins is \"https://x.example\": expected a list of texts, such as \
             [\"one\", \"two\"]",
        ),
        (
            "[connect]\nreturn_url_origins = ['https://x.example/path']",
            ":2: connect.return_url_origins is \"https://x.example/path\": expected origins, such as \
             \"https://platform.example\", without a path",
        ),
        ("state_dir = 'x", ":1: invalid literal string, expected `'`"),
        (
            "state_dir = 'x'\nstate_dir = 'y'",
            ":2: state_dir is in line 1 already: keep one of the two",
        ),
        (
            "[google]\n# Two.\nclient_id = 'x'\n  \"client_id\" = 'y'",
            ":4: google.client_id is in line 3 already: keep one of the two",
        ),
        (
            "google.client_id = 'x'\n[google]\nclient_type = 'web'",
            ":2: google is in line 1 already: keep one of the two",
        ),
        (
            "[[capabilities]]\nkey = 'google.x'\n[[capabilities]]\nkey = 'google.y'\nkey = 'google.z'",
            ":5: capabilities.key is in line 4 already: keep one of the two",
        ),
        ("log = { level = 'info', level = 'debug' }", ":1: duplicate key"),
    ] {
        assert_eq!(refused(text), format!("{FILE}{message}"), "{text}");
    }
}

#[test]
fn the_environment_wins_and_its_errors_name_the_variable() {
    let text = "state_dir = '/a'\n[renewal]\nconcurrency = 3";
    let env = [
        ("TOKEN_BROKER_STATE_DIR", "/b"),
        ("TOKEN_BROKER_RENEWAL_CONCURRENCY", "5"),
        (
            "TOKEN_BROKER_CONNECT_RETURN_URL_ORIGINS",
            "https://a.example,https://b.example:8443",
        ),
        ("TOKEN_BROKER_HTTP_LISTEN", ""),
        ("PATH", "/bin"),
    ];
    let config = parse(text, &env).unwrap();
    assert_eq!(config.state_dir, Path::new("/b"));
    assert_eq!(config.renewal.concurrency, 5);
    assert!(
        config
            .connect
            .allows_return_to(&"https://b.example:8443/done?x=1".parse().unwrap())
    );
    assert!(
        !config
            .connect
            .allows_return_to(&"https://b.example/done".parse().unwrap())
    );
    assert_eq!(
        parse("", &[("TOKEN_BROKER_AUDIT_RETENTION_DAYS", "long")])
            .err()
            .unwrap(),
        "TOKEN_BROKER_AUDIT_RETENTION_DAYS is \"long\": expected a whole number from 1 to 36500"
    );
}

#[test]
fn yes_or_no_is_said_as_such() {
    const VARIABLE: &str = "TOKEN_BROKER_GOOGLE_DPOP";
    let dpop = |text: &str, env: &[(&str, &str)]| parse(text, env).map(|config| config.google.dpop);
    assert_eq!(dpop("", &[]), Ok(false));
    assert_eq!(dpop("google.dpop = true", &[]), Ok(true));
    assert_eq!(dpop("google.dpop = true", &[(VARIABLE, "false")]), Ok(false));
    assert_eq!(dpop("", &[(VARIABLE, "true")]), Ok(true));
    assert_eq!(
        dpop("google.dpop = \"true\"", &[]),
        Err(format!(
            "{FILE}:1: google.dpop is \"true\": expected true or false"
        ))
    );
    assert_eq!(
        dpop("", &[(VARIABLE, "yes")]),
        Err(format!("{VARIABLE} is \"yes\": expected true or false"))
    );
    assert_eq!(
        dpop("google.client_id = true", &[]),
        Err(format!(
            "{FILE}:1: google.client_id is true: expected a text in quotes"
        ))
    );
}

#[test]
fn a_slip_in_a_variable_is_a_warning_and_others_are_left_alone() {
    let env = [
        ("TOKEN_BROKER_STATEDIR", "/b"),
        ("TOKEN_BROKER_SERVICE_HOST", "10.0.0.1"),
        ("TOKEN_BROKER_PORT_8420_TCP", "tcp://10.0.0.1:8420"),
        ("TOKEN_BROKER_STATE", "active"),
        ("TOKEN_BROKER_CONFIG", "/x"),
    ];
    assert_eq!(
        parse("", &env).unwrap().warnings(),
        ["TOKEN_BROKER_STATEDIR is not used: did you mean TOKEN_BROKER_STATE_DIR?"]
    );
}

#[test]
fn a_variable_that_names_a_section_is_refused() {
    let refused = |name: &str| parse("", &[(name, "x")]).err().unwrap();
    assert_eq!(
        refused("TOKEN_BROKER_PROVIDERS"),
        "TOKEN_BROKER_PROVIDERS is no key: write [[providers]] in the configuration file"
    );
    assert_eq!(
        refused("TOKEN_BROKER_ADMIN_CLIENTS"),
        "TOKEN_BROKER_ADMIN_CLIENTS is no key: write [[admin.clients]] in the configuration file"
    );
    assert_eq!(
        refused("TOKEN_BROKER_RENEWAL"),
        "TOKEN_BROKER_RENEWAL is no key: [renewal] has a variable for each of its keys, such as \
         TOKEN_BROKER_RENEWAL_CONCURRENCY"
    );
}

#[test]
fn secrets_travel_only_over_https_or_loopback() {
    for good in [
        "https://idp.example",
        "http://localhost:9005",
        "http://[::1]:1",
        "http://127.9.9.9/",
    ] {
        assert!(
            parse(&format!("[google]\nendpoint_base = '{good}'"), &[]).is_ok(),
            "{good}"
        );
    }
    for bad in [
        "http://idp.example",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.1:9005/base",
        "https://user@idp.example",
        "ftp://127.0.0.1",
        "127.0.0.1:9005",
    ] {
        let error = refused(&format!("[google]\nendpoint_base = '{bad}'"));
        assert!(error.contains(&format!("endpoint_base is \"{bad}\"")), "{error}");
    }
}

#[test]
fn a_public_listener_without_tls_is_warned_about() {
    let warnings = |text: &str| parse(text, &[]).unwrap().warnings.len();
    assert_eq!(warnings("http_listen = '0.0.0.0:8420'"), 1);
    assert_eq!(
        warnings("http_listen = '0.0.0.0:8420'\npublic_url = 'https://b.example'"),
        0
    );
    assert_eq!(warnings("public_url = 'http://b.example'"), 1);
    assert_eq!(warnings("http_listen = '[::1]:8420'"), 0);
    for loopback in ["[::ffff:127.0.0.1]:8420", "[::ffff:7f00:1]:8420"] {
        let config = parse(
            &format!("http_listen = '{loopback}'\n[adc]\nlisten = '{loopback}'"),
            &[],
        )
        .unwrap();
        assert_eq!(config.warnings, [""; 0]);
        assert_eq!(config.public_url.as_str(), "http://127.0.0.1:8420/");
        let metadata = format!("[metadata]\nlisten = '{loopback}'\nagent = 'bot'");
        assert!(parse(&metadata, &[]).is_ok());
        assert!(parse(&format!("[google]\nendpoint_base = 'http://{loopback}'"), &[]).is_ok());
    }
    // It is reached from elsewhere, and so is the address that follows from it.
    assert_eq!(warnings("http_listen = '[::ffff:10.0.0.1]:8420'"), 2);
}

#[test]
fn urls_follow_the_address_that_was_bound() {
    let mut config = parse("http_listen = '0.0.0.0:0'", &[]).unwrap();
    config.bound("0.0.0.0:4711".parse().unwrap()).unwrap();
    assert_eq!(config.public_url.as_str(), "http://127.0.0.1:4711/");
    assert_eq!(
        config.google.redirect_uri.as_str(),
        "http://127.0.0.1:4711/oauth/callback"
    );
    let mut given = parse("public_url = 'https://b.example/broker/'", &[]).unwrap();
    given.bound("127.0.0.1:4711".parse().unwrap()).unwrap();
    assert_eq!(
        given.google.redirect_uri.as_str(),
        "https://b.example/broker/oauth/callback"
    );
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let config = parse(
        "state_dir = 'state'\n[key]\nsource = 'file:k'\nprevious = ['file:old']",
        &[],
    )
    .unwrap();
    assert_eq!(config.state_dir, Path::new("/etc/token-broker/state"));
    assert_eq!(config.key.source.to_string(), "file:/etc/token-broker/k");
    assert_eq!(config.key.previous[0].to_string(), "file:/etc/token-broker/old");
    let here = std::env::current_dir().unwrap();
    let config = parse("", &[("TOKEN_BROKER_STATE_DIR", "state")]).unwrap();
    assert_eq!(config.state_dir, here.join("state"));
}

#[test]
fn the_database_is_kept_out_of_what_agents_see() {
    let error = refused("state_dir = '/x'\nruntime_dir = '/x'");
    assert!(
        error.starts_with("state_dir and runtime_dir are both /x: "),
        "{error}"
    );
}

#[test]
fn folders_that_are_none_are_refused_with_their_key() {
    for (key, other) in [
        ("state_dir", "runtime_dir = '/run/x'"),
        ("runtime_dir", "state_dir = '/x'"),
    ] {
        for root in ["/", "//", "/../"] {
            let error = refused(&format!("{key} = '{root}'\n{other}"));
            assert!(
                error.starts_with(&format!("{key} is the root of the file system: ")),
                "{error}"
            );
        }
        for empty in ["", " "] {
            let error = refused(&format!("{key} = '{empty}'\n{other}"));
            assert!(
                error.ends_with(&format!(":1: {key} is \"{empty}\": expected a path")),
                "{error}"
            );
        }
    }
    let warned = |text: &str| parse(text, &[]).unwrap().warnings().join("\n");
    assert!(warned("state_dir = '/x/y'\nruntime_dir = '/x'").contains("lies in runtime_dir /x"));
    assert!(warned("state_dir = '/x'\nruntime_dir = '/x/run'").contains("lies in state_dir /x"));
    assert!(refused("state_dir = 'a/../b'\nruntime_dir = 'b'").contains("are both"));
}

#[test]
fn a_path_that_no_socket_can_have_is_refused_with_its_key() {
    let folder = |bytes: usize| format!("runtime_dir = '/{}'", "x".repeat(bytes - 1));
    assert!(parse(&folder(91), &[]).is_ok());
    let error = refused(&folder(92));
    assert!(error.starts_with("runtime_dir is too long: "), "{error}");
    assert!(
        error.contains("/admin.sock has 103 bytes, and may have 102; choose a shorter one"),
        "{error}"
    );
}

#[test]
fn capabilities_are_added_from_file_or_environment() {
    let text = "\n[[capabilities]]\nkey = 'a.b'\ntitle = 'x'\nscopes = ['s']\n";
    let config = parse(text, &[]).unwrap();
    assert_eq!(config.capabilities[0].origin, format!("{FILE}:2"));
    let variable = "[{key = 'c.d', title = 'x', scopes = ['s']}]";
    let config = parse(text, &[("TOKEN_BROKER_CAPABILITIES", variable)]).unwrap();
    assert_eq!(config.capabilities[0].key, "c.d");
    assert_eq!(config.capabilities[0].origin, "TOKEN_BROKER_CAPABILITIES");
    assert!(
        refused("[[capabilities]]\nkey = 'a.b'\ntitel = 'x'")
            .starts_with(&format!("{FILE}:3: capabilities: titel: there is no such key"))
    );
}

#[test]
fn a_named_file_must_exist_and_the_default_one_need_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none.toml");
    let error = Config::load(Some(&path), std::iter::empty())
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        error,
        format!(
            "{}: there is no such file: `token-broker init` writes one",
            path.display()
        )
    );
}

#[test]
fn a_client_is_complete_or_says_what_is_missing() {
    let client = |text: &str, env: &[(&str, &str)]| {
        parse(text, env)
            .unwrap()
            .google
            .client()
            .map_err(|error| error.to_string())
    };
    let error = client("", &[]).err().unwrap();
    assert!(
        error.starts_with("google.client_id is not set: create an OAuth client"),
        "{error}"
    );
    let error = client("[google]\nclient_id = 'x'", &[]).err().unwrap();
    assert!(
        error.starts_with("google.client_secret_file is not set: a web client has a secret"),
        "{error}"
    );
    let desktop = client("[google]\nclient_id = 'x'\nclient_type = 'desktop'", &[])
        .ok()
        .unwrap();
    assert!(desktop.secret.is_none());
    let secret = [("TOKEN_BROKER_GOOGLE_CLIENT_SECRET", "s3cret")];
    let text = "[google]\nclient_id = 'x'\nclient_secret_file = '/none'";
    assert_eq!(
        client(text, &secret).ok().unwrap().secret.unwrap().expose(),
        "s3cret"
    );
    assert_eq!(
        client(text, &[]).err().unwrap(),
        "google.client_secret_file /none: there is no such file"
    );
    let quoted = [("TOKEN_BROKER_GOOGLE_CLIENT_SECRET", "\"s3cret\"")];
    assert_eq!(
        client(text, &quoted).err().unwrap(),
        "google.client_secret: it is in quotes: write the secret alone"
    );
    let whole = [(
        "TOKEN_BROKER_GOOGLE_CLIENT_SECRET",
        r#"{"web": {"client_id": "x", "client_secret": "s3cret"}}"#,
    )];
    assert_eq!(
        client(text, &whole).ok().unwrap().secret.unwrap().expose(),
        "s3cret"
    );
    assert!(refused("[google]\nclient_id = '\"x\"'").contains("expected a client id"));
    let both = "[google]\nclient_secret = 'a'\nclient_secret_file = 'b'";
    assert_eq!(
        refused(both),
        format!("{FILE}:3: google.client_secret_file excludes google.client_secret: set one of the two")
    );
}

#[test]
fn a_byte_order_mark_before_the_file_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let load = || Config::load(Some(&path), std::iter::empty()).map_err(|error| error.to_string());
    fs::write(&path, "\u{feff}http_listen = '127.0.0.1:1'\r\n").unwrap();
    assert_eq!(load().unwrap().http_listen.port(), 1);
    fs::write(&path, b"\xff\xfeh\0").unwrap();
    assert!(load().err().unwrap().contains("UTF-16"));
}

#[test]
fn a_variable_of_ours_that_is_no_text_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    fs::write(&path, "http_listen = '127.0.0.1:1'\n").unwrap();
    let broken = OsString::from_vec(b"127.0.0.1:2\xff".to_vec());
    let load = |name: &str| {
        let env = [(OsString::from(name), broken.clone())];
        Config::load(Some(&path), env.into_iter()).map_err(|error| error.to_string())
    };
    assert_eq!(
        load("TOKEN_BROKER_HTTP_LISTEN").err().unwrap(),
        "TOKEN_BROKER_HTTP_LISTEN holds bytes that are not UTF-8: set it to text"
    );
    assert!(load("HOME").is_ok(), "that is no business of ours");
}

#[test]
fn a_secret_in_the_file_makes_the_file_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    fs::write(&path, "[google]\nclient_id = 'x'\nclient_secret = 's3cret'\n").unwrap();
    let load = |mode| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Config::load(Some(&path), std::iter::empty()).map_err(|error| error.to_string())
    };
    let error = load(0o644).err().unwrap();
    assert!(
        error.contains("run `chmod 600") && !error.contains("s3cret"),
        "{error}"
    );
    let client = load(0o600).unwrap().google.client().ok().unwrap();
    assert_eq!(client.secret.unwrap().expose(), "s3cret");
}

#[test]
fn a_secret_of_the_wrong_type_is_not_shown() {
    let error = refused("[google]\nclient_secret = ['s3cret']");
    assert!(!error.contains("s3cret"), "{error}");
}

#[test]
fn the_ports_for_googles_libraries_are_off_unless_asked_for() {
    let config = parse("", &[]).unwrap();
    assert_eq!((config.adc, config.metadata.port), (None, None));
    assert_eq!(config.metadata.project_id, "token-broker");
    let config = parse(
        "[adc]\nlisten = '127.0.0.1:8421'\n[metadata]\nlisten = '127.0.0.1:8422'\nagent = 'invoice-bot'",
        &[],
    )
    .unwrap();
    assert_eq!(
        config.adc.unwrap().token_url().unwrap().as_str(),
        "http://127.0.0.1:8421/sts/v1/token"
    );
    let port = config.metadata.port.unwrap();
    assert_eq!((port.listen.port(), port.agent.as_str()), (8422, "invoice-bot"));
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn the_token_endpoint_may_have_another_address_for_containers() {
    let token_url = |text: &str| {
        let adc = parse(text, &[]).unwrap().adc.unwrap();
        adc.token_url().unwrap().to_string()
    };
    let text = "[adc]\nlisten = '172.17.0.1:8421'\nurl = 'http://host:8421/broker/'";
    assert_eq!(token_url(text), "http://host:8421/broker/sts/v1/token");
    assert_eq!(
        token_url("[adc]\nlisten = '0.0.0.0:8421'"),
        "http://127.0.0.1:8421/sts/v1/token"
    );
    let warnings = parse(text, &[]).unwrap().warnings;
    assert!(
        warnings[0].contains("adc.listen 172.17.0.1:8421 may be reachable"),
        "{warnings:?}"
    );
    let text = "[adc]\nlisten = '0.0.0.0:8421'\nurl = 'https://broker.example'";
    assert_eq!(parse(text, &[]).unwrap().warnings, [""; 0]);
}

#[test]
fn a_port_for_googles_libraries_that_cannot_be_meant_is_refused() {
    for (text, message) in [
        (
            "[adc]\nurl = 'http://host:8421'",
            ":2: adc.url says how agents reach an endpoint that is not served: set adc.listen as well",
        ),
        (
            "[adc]\nlisten = '127.0.0.1:8421'\nurl = 'host:8421'",
            ":3: adc.url is \"host:8421\": expected an http:// or https:// URL without user, query or fragment",
        ),
        (
            "[metadata]\nlisten = '0.0.0.0:8422'\nagent = 'a'",
            ":2: metadata.listen is \"0.0.0.0:8422\": expected a loopback address and port, such as \
             127.0.0.1:8422: whoever reaches it gets the agent's tokens",
        ),
        (
            "[metadata]\nlisten = '127.0.0.1:8422'",
            ":2: metadata.listen needs metadata.agent: the port speaks for one agent, because it cannot tell who asks",
        ),
        (
            "[metadata]\nagent = 'a'",
            ":2: metadata.agent needs metadata.listen: the port speaks for one agent, because it cannot tell who asks",
        ),
        (
            "[metadata]\nagent = 'A'",
            ":2: metadata.agent is \"A\": expected the name of an agent",
        ),
        (
            "[metadata]\nproject_id = 'My Project'",
            ":2: metadata.project_id is \"My Project\": expected a project id: 6 to 30 lower-case letters, digits and \
             hyphens, starting with a letter",
        ),
        ("[metadata]\nport = 1", ":2: metadata.port: there is no such key"),
    ] {
        let error = refused(text);
        assert!(error.starts_with(&format!("{FILE}{message}")), "{error}");
    }
}

#[test]
fn a_free_port_is_taken_over_and_a_chosen_one_stays() {
    let text = "[adc]\nlisten = '127.0.0.1:0'\n[metadata]\nlisten = '127.0.0.1:8422'\nagent = 'a'";
    let mut config = parse(text, &[]).unwrap();
    let bound = "127.0.0.1:4000".parse().unwrap();
    config.bound_for_libraries(Some(bound), Some(bound));
    assert_eq!(config.adc.unwrap().listen, bound);
    assert_eq!(config.metadata.port.unwrap().listen.port(), 8422);
}

#[test]
fn events_are_taken_for_the_clients_that_are_named() {
    let text = "[google]\nclient_id = 'ours'\n[risc]\naudiences = ['ours', 'also-ours']";
    let config = parse(text, &[]).unwrap();
    assert_eq!(config.risc.audiences, ["ours", "also-ours"]);
    assert_eq!(config.warnings, [""; 0]);
    assert!(parse("", &[]).unwrap().risc.audiences.is_empty());
    let from_environment = parse("", &[("TOKEN_BROKER_RISC_AUDIENCES", "a,b")]).unwrap();
    assert_eq!(from_environment.risc.audiences, ["a", "b"]);

    let other = parse(
        "[google]\nclient_id = 'ours'\n[risc]\naudiences = ['theirs']",
        &[],
    )
    .unwrap();
    assert!(
        other.warnings[0].contains("does not name google.client_id ours"),
        "{:?}",
        other.warnings
    );
    let message = refused("[risc]\naudiences = ['two words']");
    assert!(message.contains(":2: risc.audiences"), "{message}");
}

#[test]
fn a_csi_driver_takes_an_endpoint_and_finds_the_api_in_a_cluster() {
    assert_eq!(parse("[csi]\ndriver = 'tokens.example'", &[]).unwrap().csi, None);
    let inside = [
        ("KUBERNETES_SERVICE_HOST", "fd00::1"),
        ("KUBERNETES_SERVICE_PORT", "6443"),
        ("TOKEN_BROKER_KUBERNETES_NODE_NAME", "node-1"),
    ];
    let csi = parse("[csi]\nendpoint = 'unix:///csi/csi.sock'", &inside).unwrap();
    assert_eq!(csi.kubernetes.node_name, "node-1");
    let csi = csi.csi.unwrap();
    assert_eq!(csi.endpoint, Path::new("/csi/csi.sock"));
    assert_eq!(csi.api.url.as_str(), "https://[fd00::1]:6443/");
    assert_eq!(
        (csi.driver.as_str(), csi.audience.as_str()),
        ("token-broker.dev", "token-broker.dev")
    );
    let text = "[csi]\nendpoint = '/csi.sock'\ndriver = 'a.b'\naudience = 'c'\n\
                [kubernetes]\napi_url = 'http://127.0.0.1:1'";
    let config = parse(text, &[]).unwrap();
    assert!(!config.kubernetes.node_name.is_empty());
    let csi = config.csi.unwrap();
    assert_eq!((csi.driver.as_str(), csi.audience.as_str()), ("a.b", "c"));
}

#[test]
fn what_no_csi_driver_can_do_with_is_refused() {
    for (text, message) in [
        (
            "[csi]\nendpoint = '/csi.sock'",
            ":2: csi.endpoint needs the Kubernetes API to ask whether pods' tokens are genuine, and this is no pod of a \
             cluster (KUBERNETES_SERVICE_HOST is not set): set kubernetes.api_url",
        ),
        (
            "[csi]\nendpoint = 'tcp://127.0.0.1:9'",
            ":2: csi.endpoint is \"tcp://127.0.0.1:9\": expected the path of a socket, at most 100 bytes long, such as \
             /var/lib/kubelet/plugins/token-broker.dev/csi.sock",
        ),
        (
            "[csi]\nendpoint = '/csi.sock'\nregistration = '/plugins/.a-reg.sock'",
            ":3: csi.registration is \"/plugins/.a-reg.sock\": expected a name without a dot before it: the kubelet passes \
             over such names",
        ),
        (
            "[kubernetes]\napi_url = 'http://10.0.0.1'",
            ":2: kubernetes.api_url is \"http://10.0.0.1\": expected the API server's https:// address (plain http:// only on \
             a loopback address, because tokens travel there)",
        ),
        (
            "[kubernetes]\nstartup_taint = 'a/b'",
            ":2: kubernetes.startup_taint needs the Kubernetes API to remove the taint, and this is no pod of a cluster \
             (KUBERNETES_SERVICE_HOST is not set): set kubernetes.api_url",
        ),
        (
            "[kubernetes]\nstartup_taint = 'a/b/c'",
            ":2: kubernetes.startup_taint is \"a/b/c\": expected a taint's key, such as token-broker.dev/agent-not-ready",
        ),
        (
            "[csi]\nendpoint = '/csi.sock'\nregistration = '/csi.sock'\n[kubernetes]\napi_url = 'http://127.0.0.1:1'",
            ":3: csi.registration is \"/csi.sock\": expected another path than csi.endpoint",
        ),
        (
            "[csi]\ndriver = 'Tokens'",
            ":2: csi.driver is \"Tokens\": expected a driver's name: at most 63 lower-case letters, digits, hyphens and \
             dots, starting and ending with a letter or digit",
        ),
    ] {
        assert_eq!(refused(text), format!("{FILE}{message}"));
    }
}

#[test]
fn sidecars_are_served_with_a_certificate_and_by_a_cluster() {
    assert_eq!(parse("[remote]\naudience = 'a'", &[]).unwrap().remote, None);
    let inside = [("KUBERNETES_SERVICE_HOST", "10.0.0.1")];
    let text = "[remote]\nlisten = '0.0.0.0:8443'\ncertificate_file = 'tls/tls.crt'\nkey_file = '/tls.key'";
    let remote = parse(text, &inside).unwrap().remote.unwrap();
    assert!(remote.certificate_file.ends_with("tls/tls.crt") && remote.certificate_file.is_absolute());
    assert_eq!(remote.audience, "token-broker.dev");
    for (text, message) in [
        (
            "[remote]\nlisten = '8443'",
            ":2: remote.listen is \"8443\": expected an address and port, such as 0.0.0.0:8443",
        ),
        (
            "[remote]\nlisten = '0.0.0.0:1'\nkey_file = 'a'",
            ":2: remote.listen needs remote.certificate_file: the server's certificate in PEM, as a Kubernetes secret of \
             type kubernetes.io/tls has it",
        ),
        (
            text,
            ":2: remote.listen needs the Kubernetes API to ask whether pods' tokens are genuine, and this is no pod of a \
             cluster (KUBERNETES_SERVICE_HOST is not set): set kubernetes.api_url",
        ),
    ] {
        assert_eq!(refused(text), format!("{FILE}{message}"));
    }
}

#[test]
fn without_a_file_the_file_is_asked_for_and_no_new_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    let without = |env: &[(&str, &str)]| {
        let env = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_parts(&file, None, env).ok().unwrap()
    };
    let said = without(&[]).check_is_there().unwrap_err().to_string();
    assert!(
        said.starts_with(&format!(
            "there is no {}: name yours with --config",
            file.display()
        )),
        "{said}"
    );
    assert!(
        without(&[("TOKEN_BROKER_KEY_SOURCE", "env:KEY")])
            .check_is_there()
            .is_ok()
    );
    std::fs::write(dir.path().join("master.key"), "").unwrap();
    assert!(
        without(&[]).check_is_there().is_ok(),
        "all else may be in the environment"
    );
}

#[test]
fn a_section_that_is_written_twice_is_named_with_its_first_line() {
    let text = "# [csi]\n[csi] # here\n\n[log]\n\n[csi]\n";
    let env = std::iter::empty();
    let said = Config::from_parts(Path::new("/c.toml"), Some(text), env)
        .err()
        .unwrap();
    assert_eq!(
        said.to_string(),
        "/c.toml:6: the section [csi] is in line 2 already: write there"
    );
}

#[test]
fn a_node_takes_nothing_that_is_for_a_broker() {
    const NODE: &str = "[upstream]\nurl = 'https://broker.example:8443'\ncertificate_file = 'node.crt'\nkey_file = 'node.key'\n";
    let node = parse(
        &format!("runtime_dir = '/run/x'\n{NODE}[log]\nlevel = 'debug'\n"),
        &[],
    )
    .unwrap();
    let upstream = node.upstream.as_ref().unwrap();
    assert_eq!(upstream.url.as_str(), "https://broker.example:8443/");
    assert!(upstream.certificate_file.ends_with("node.crt") && upstream.ca_file.is_none());
    for (foreign, place) in [
        ("[key]\nsource = 'file:/k'\n", ":6: key.source"),
        ("[google]\nclient_id = 'x'\n", ":6: google.client_id"),
        ("[[providers]]\nid = 'corp'\ntype = 'oidc'\n", "[[providers]]"),
    ] {
        let Err(error) = parse(&format!("{NODE}{foreign}"), &[]) else {
            panic!("{foreign}")
        };
        assert!(
            error.contains(&format!(
                "{place} is a broker's, and with upstream.url this daemon is a node"
            )) || error.starts_with(&format!("{FILE}:")),
            "{error}"
        );
    }
    for (text, said) in [
        (
            "state_dir = '/var/lib/x'\n[upstream]\nurl = 'https://b'\n",
            ":1: state_dir is a broker's",
        ),
        (
            "[upstream]\nkey_file = 'x'\n",
            ":2: upstream.key_file is of no use without upstream.url",
        ),
        (
            "[upstream]\nurl = 'https://b'\n",
            ":2: upstream.url needs upstream.certificate_file",
        ),
        ("[upstream]\nurl = 'http://b'\n", ":2: upstream.url"),
        ("[upstream]\nurl = 'https://b/x'\n", ":2: upstream.url"),
    ] {
        assert!(refused(text).contains(said), "{text}: {}", refused(text));
    }
}
