//! The command line against a broker on another machine.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{ALICE, OPERATOR, PLATFORM, Scene, VIEWER};
use crate::support::{Authority, Output, Signed, one_line, program, replace};

impl Scene {
    fn url(&self) -> String {
        format!("https://localhost:{}", self.daemon.admin_port())
    }

    /// The program as on another machine: without the configuration and its environment.
    fn elsewhere(&self, signed: &Signed, args: &[&str]) -> Command {
        let (certificate, key) = signed.put(self.daemon.config_dir().as_path(), "client");
        let mut command = program();
        command
            .args(["--server", &self.url()])
            .arg("--ca")
            .arg(self.daemon.admin_ca());
        command
            .arg("--certificate")
            .arg(certificate)
            .arg("--certificate-key")
            .arg(key);
        command.args(args);
        command
    }

    fn run(&self, name: &str, args: &[&str]) -> Output {
        Output::of(&mut self.elsewhere(&self.authority.client(&[name]), args))
    }
}

#[test]
fn every_command_of_the_admin_socket_goes_to_the_broker_that_is_named() {
    let scene = Scene::start();
    scene
        .daemon
        .write_manifest("bot", "alice", &["google.gmail.send"]);
    scene.daemon.connect("alice", &["google.gmail.send"]).expect_ok();
    scene.daemon.wait_for_state("bot", "active");
    let backup = scene.daemon.config_dir().join("copy.db");
    for args in [
        &["status"][..],
        &["integrations", "list"],
        &["integrations", "show", "--owner", "alice"],
        &["integrations", "check", "--owner", "alice"],
        &["agents", "list"],
        &["agents", "show", "bot"],
        &["capabilities"],
        &["audit", "list"],
        &["audit", "verify"],
        &["console", "--owner", "alice", "--no-browser"],
        &["backup", backup.to_str().unwrap()],
        &["doctor"],
        &["integrations", "disconnect", "--owner", "alice", "--yes"],
    ] {
        let output = scene.run(OPERATOR, args);
        assert_eq!(output.code, 0, "{args:?}: {output:?}");
    }
    assert!(backup.metadata().unwrap().len() > 0);
    let said = scene.run(ALICE, &["agents", "list"]);
    assert!(said.stdout.contains("bot"), "{said:?}");
    // All of it by variables.
    let (certificate, key) = scene
        .authority
        .client(&[VIEWER])
        .put(&scene.daemon.config_dir(), "viewer");
    let mut command = program();
    command
        .env("TOKEN_BROKER_SERVER", scene.url())
        .env("TOKEN_BROKER_CERTIFICATE", certificate)
        .env("TOKEN_BROKER_CERTIFICATE_KEY", key)
        .env("TOKEN_BROKER_CA", scene.daemon.admin_ca())
        .args(["agents", "list"]);
    assert!(Output::of(&mut command).stdout.contains("bot"));
}

#[track_caller]
fn expect(output: &Output, code: i32, words: &str) {
    assert_eq!(output.code, code, "{words}: {output:?}");
    let said = one_line(&output.stderr);
    assert!(said.contains(words), "{words}: {said}");
}

#[test]
fn each_way_of_not_being_let_in_has_its_sentence_and_its_exit_code() {
    let scene = Scene::start();
    let status = |signed: &Signed| Output::of(&mut scene.elsewhere(signed, &["status"]));
    let authority = &scene.authority;
    for (signed, code, words) in [
        (
            Authority::new().client(&[PLATFORM]),
            3,
            "no authority in admin.client_ca_file",
        ),
        (
            Authority::named("another").client(&[PLATFORM]),
            3,
            "no authority in admin.client_ca_file",
        ),
        (authority.expired_client(&[PLATFORM]), 3, "it has ended"),
        (
            authority.for_servers(&[PLATFORM]),
            3,
            "it is not made for clients",
        ),
        (
            authority.client(&["stranger"]),
            7,
            "names no client of the broker: it has stranger",
        ),
        (
            authority.client(&[PLATFORM, VIEWER]),
            7,
            "names two clients of the broker",
        ),
    ] {
        expect(&status(&signed), code, words);
    }
    for (name, args, words) in [
        (
            VIEWER,
            &["agents", "remove", "bot", "--yes"][..],
            "viewer.corp.example has the role viewer, which may not call",
        ),
        (ALICE, &["status"], "acts for the owner alice alone"),
        (ALICE, &["agents", "list", "--owner", "bob"], "name no other"),
    ] {
        expect(&scene.run(name, args), 7, words);
    }
    for command in ["status", "doctor"] {
        let output = scene.daemon.cli(&[command]);
        let said = one_line(&(output.stdout + &output.stderr));
        assert!(
            said.contains("that are in no role: stranger (last at "),
            "{command}: {said}"
        );
    }
    let own = authority.client(&[PLATFORM]);
    let mut gone = scene.elsewhere(&own, &["status"]);
    scene.daemon.terminate();
    expect(&Output::of(&mut gone), 3, "cannot be used: ");
}

#[test]
fn files_and_options_that_cannot_be_used_are_named() {
    let scene = Scene::start();
    let folder = scene.daemon.config_dir();
    let path = |path: PathBuf| path.to_str().unwrap().to_owned();
    let (certificate, key) = scene.authority.client(&[PLATFORM]).put(&folder, "own");
    let (certificate, key) = (path(certificate), path(key));
    let (_, others_key) = scene.authority.client(&[PLATFORM]).put(&folder, "other");
    let (others_key, ca) = (path(others_key), path(scene.daemon.admin_ca()));
    let other_ca = path(folder.join("other-ca.crt"));
    replace(Path::new(&other_ca), &Authority::named("another").pem);
    let url = scene.url();
    let with = |certificate: &str, key: &str, ca: &str| {
        let mut command = program();
        command.args(["--server", &url, "--certificate", certificate]);
        Output::of(command.args(["--certificate-key", key, "--ca", ca, "status"]))
    };
    assert_eq!(with(&certificate, &key, &ca).code, 0);
    for (certificate, key, ca, code, words) in [
        (
            &*certificate,
            &*key,
            &*other_ca,
            3,
            "its certificate is not accepted by the authorities in",
        ),
        (&certificate, &certificate, &ca, 7, "holds no private key in PEM"),
        (
            &certificate,
            &others_key,
            &ca,
            7,
            "does not belong to --certificate",
        ),
        (&key, &key, &ca, 7, "holds no certificate in PEM"),
        ("/nowhere", &key, &ca, 7, "--certificate /nowhere cannot be read"),
        (&certificate, &key, "/nowhere", 7, "--ca: /nowhere cannot be read"),
    ] {
        expect(&with(certificate, key, ca), code, words);
    }
    for (args, words) in [
        (
            &["--server", &url, "--ca", &ca, "status"][..],
            "--server needs --certificate and --certificate-key",
        ),
        (
            &["--server", "http://localhost:1", "status"],
            "expected https://HOST:PORT",
        ),
        (
            &["--server", &url, "--admin-socket", "/x", "status"],
            "cannot be used with",
        ),
    ] {
        expect(&Output::of(program().args(args)), 2, words);
    }
}
