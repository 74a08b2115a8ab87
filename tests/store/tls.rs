//! `PostgreSQL` over TLS: whose certificate is believed, and what lets the broker in.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, path::Path};

use tempfile::TempDir;
use token_broker::{
    config::StoreSection,
    postgres_store::PostgresStore,
    store::{KeyState, Store},
};

use crate::{
    authority::Authority,
    postgres::{open, section},
    server::Server,
    support::{account, id, keyring, vault_of},
};

const HBA: &str =
    "local all all trust\nhostssl all broker all scram-sha-256\nhostssl all certified all cert map=clients\n";
/// Which names of certificates are which user's.
const MAP: &str = "clients \"a client\" certified\n";

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A server that speaks TLS alone, and what brokers have of it.
struct Scene {
    port: u16,
    own: TempDir,
    _server: Server,
}

impl Scene {
    async fn begin() -> Self {
        let (ours, others) = (Authority::named("ours"), Authority::named("others"));
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let server = Server::start(|folder| settings(folder, &ours, port));
        let local = format!(
            "postgres://broker@/postgres?host={}&port={port}",
            server.folder.display()
        );
        crate::server::execute(
            &local,
            "ALTER ROLE broker PASSWORD 'geheim'; CREATE ROLE certified LOGIN SUPERUSER; CREATE ROLE nobody LOGIN",
        )
        .await;
        let own = tempfile::tempdir().unwrap();
        write(&own.path().join("ours.crt"), &ours.pem);
        write(&own.path().join("others.crt"), &others.pem);
        write(&own.path().join("password"), "geheim\n");
        write(&own.path().join("wrong"), "falsch\n");
        ours.client(&["certified"]).put(own.path(), "certified");
        Self {
            port,
            own,
            _server: server,
        }
    }

    fn section(&self, user: &str, host: &str, more: &str) -> StoreSection {
        let port = self.port;
        section(
            &format!("postgres://{user}@{host}:{port}/postgres?sslmode=verify-full"),
            more,
        )
    }

    async fn look(&self, user: &str, host: &str, more: &str) -> Result<String, String> {
        let section = self.section(user, host, more);
        let looked = tokio::task::spawn_blocking(move || PostgresStore::look(&section)).await;
        looked
            .unwrap()
            .map(|facts| facts.engine)
            .map_err(|error| error.to_string())
    }

    /// Keys of `[store]` that name these files.
    fn files(&self, named: &[(&str, &str)]) -> String {
        let line =
            |(key, name): &(&str, &str)| format!("{key} = \"{}\"\n", self.own.path().join(name).display());
        named.iter().map(line).collect()
    }

    fn password(&self, authority: &str, file: &str) -> String {
        self.files(&[("ca_file", authority), ("password_file", file)])
    }
}

fn settings(folder: &Path, authority: &Authority, port: u16) -> Vec<String> {
    let own = authority.server();
    for (name, text) in [
        ("server.crt", own.certificate.as_str()),
        ("server.key", &own.key),
        ("ca.crt", &authority.pem),
        ("hba.conf", HBA),
        ("ident.conf", MAP),
    ] {
        write(&folder.join(name), text);
    }
    let mut settings = vec![
        "fsync=off".to_owned(),
        "listen_addresses=localhost".to_owned(),
        format!("port={port}"),
        "ssl=on".to_owned(),
    ];
    for (key, name) in [
        ("ssl_cert_file", "server.crt"),
        ("ssl_key_file", "server.key"),
        ("ssl_ca_file", "ca.crt"),
        ("hba_file", "hba.conf"),
        ("ident_file", "ident.conf"),
    ] {
        settings.push(format!("{key}={}", folder.join(name).display()));
    }
    settings
}

#[tokio::test]
async fn the_server_is_known_by_its_certificate_and_the_broker_by_its_own_or_a_password() {
    let scene = Scene::begin().await;
    let (password, certificate) = (
        scene.password("ours.crt", "password"),
        scene.files(&[
            ("ca_file", "ours.crt"),
            ("certificate_file", "certified.crt"),
            ("key_file", "certified.key"),
        ]),
    );
    for (user, more) in [("broker", &password), ("certified", &certificate)] {
        let engine = scene.look(user, "localhost", more).await.unwrap();
        assert!(engine.starts_with("PostgreSQL"), "{engine}");
    }
    for (user, host, more, why) in [
        (
            "broker",
            "localhost",
            scene.password("others.crt", "password"),
            "UnknownIssuer",
        ),
        ("broker", "127.0.0.1", password.clone(), "not valid for name"),
        (
            "broker",
            "localhost",
            scene.password("ours.crt", "wrong"),
            "does not let the broker in",
        ),
        (
            "broker",
            "localhost",
            scene.password("ours.crt", "missing"),
            "store.password_file",
        ),
        (
            "certified",
            "localhost",
            password.clone(),
            "does not let the broker in",
        ),
        (
            "nobody",
            "localhost",
            password.clone(),
            "does not let the broker in",
        ),
    ] {
        let refused = scene.look(user, host, &more).await.unwrap_err();
        assert!(refused.contains(why), "{why}: {refused}");
        assert!(
            !refused.contains("geheim") && !refused.contains("falsch"),
            "{refused}"
        );
    }
    // All of a store's ways go over it.
    let (target, state) = (
        scene.section("broker", "localhost", &password),
        tempfile::tempdir().unwrap(),
    );
    let first = keyring(&[(1, KeyState::Active)]);
    let store = open(target, state.path(), &vault_of(1, &[]), &first)
        .await
        .unwrap();
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    assert!(store.integration(&id(1)).await.unwrap().is_some());
}
