use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;
use crate::{
    http_client::testing::{Answer, Play, deserted, localhost, pem},
    vault::KeyId,
};

const SEAL: &str = "transit:https://vault.example/v1/transit/keys/tb";
const TOKEN: &str = "hvs.CAESICanaryCanaryCanaryCanary";
const CIPHERTEXT: &str = "vault:v3:c2VhbGVk";

fn place() -> Place<'static> {
    Place {
        store: "store_1",
        key: KeyId::from_bytes([7; 8]),
    }
}

fn secret() -> Key {
    Key::new([9; 32])
}

fn enclosed() -> String {
    BASE64_STANDARD.encode(&*enclosure::enclose(&place(), &secret()))
}

fn encrypted() -> Answer {
    Answer::json(
        200,
        &json!({"data": {"ciphertext": CIPHERTEXT, "key_version": 3}}),
    )
}

fn decrypted(plaintext: &str) -> Answer {
    Answer::json(200, &json!({"data": {"plaintext": plaintext}}))
}

fn errors(status: u16, said: &str) -> Answer {
    Answer::json(status, &json!({"errors": [said]}))
}

fn wrapped() -> WrappedKey {
    WrappedKey {
        seal: SEAL.to_owned(),
        seal_key: "tb:v3".to_owned(),
        bytes: [&[VERSION], CIPHERTEXT.as_bytes()].concat(),
    }
}

/// A token's file, and what it is for.
struct Scene {
    folder: tempfile::TempDir,
    section: TransitSection,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let section = TransitSection {
            token_file: folder.path().join("token"),
            ca_file: None,
            namespace: None,
        };
        let scene = Self { folder, section };
        scene.write_token(TOKEN, 0o600);
        scene
    }

    fn write_token(&self, token: &str, mode: u32) {
        fs::write(&self.section.token_file, token).unwrap();
        fs::set_permissions(&self.section.token_file, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn of(&self, origin: &str) -> Transit {
        self.limited(origin, Duration::from_secs(60))
    }

    fn limited(&self, origin: &str, request: Duration) -> Transit {
        let limits = Limits {
            request,
            ..super::super::LIMITS
        };
        let key = format!("{origin}/v1/team/transit/keys/tb").parse().unwrap();
        Transit::new(&key, &self.section, limits).unwrap()
    }
}

/// What a server that answers so, also when it is asked once more, makes of a wrapped key.
async fn not_unwrapped(answer: Answer) -> Problem {
    let (scene, play) = (Scene::new(), Play::start(vec![answer.clone(), answer]).await);
    let opened = scene.of(play.origin()).unwrap(&place(), &wrapped()).await;
    opened.err().unwrap()
}

#[tokio::test]
async fn a_key_is_wrapped_once_the_server_gave_it_back() {
    let (scene, play) = (
        Scene::new(),
        Play::start(vec![encrypted(), decrypted(&enclosed())]).await,
    );
    let made = scene
        .of(play.origin())
        .wrap(SEAL, &place(), &secret())
        .await
        .unwrap();
    assert!(made == wrapped());
    let requests = play.requests();
    let sent: Vec<(&str, Value)> = requests
        .iter()
        .map(|seen| (seen.path.as_str(), serde_json::from_str(&seen.body).unwrap()))
        .collect();
    assert_eq!(
        sent,
        [
            ("/v1/team/transit/encrypt/tb", json!({"plaintext": enclosed()})),
            ("/v1/team/transit/decrypt/tb", json!({"ciphertext": CIPHERTEXT})),
        ]
    );
    for seen in &requests {
        assert_eq!(seen.headers["authorization"], format!("Bearer {TOKEN}"));
        assert_eq!(seen.headers["x-vault-request"], "true");
        assert_eq!(seen.headers["content-type"], "application/json");
        assert!(!seen.headers.contains_key("x-vault-namespace"));
    }
}

#[tokio::test]
async fn a_server_that_does_not_give_back_what_it_encrypted_wraps_nothing() {
    let other = BASE64_STANDARD.encode([1; 64]);
    for (answer, is_away) in [
        (decrypted(&other), false),
        (decrypted(""), false),
        (decrypted("no base64!"), false),
        (errors(403, "permission denied"), true),
    ] {
        let (scene, play) = (Scene::new(), Play::start(vec![encrypted(), answer]).await);
        let problem = scene
            .of(play.origin())
            .wrap(SEAL, &place(), &secret())
            .await
            .err()
            .unwrap();
        assert_eq!(matches!(problem, Problem::Away(_)), is_away, "{problem:?}");
    }
}

#[tokio::test]
async fn what_is_wrapped_opens_at_its_place_alone() {
    let (scene, play) = (Scene::new(), Play::start(vec![]).await);
    let transit = scene.of(play.origin());
    play.add([decrypted(&enclosed())]);
    let opened = transit.unwrap(&place(), &wrapped()).await.unwrap();
    assert_eq!(opened.expose(), secret().expose());
    play.add([decrypted(&enclosed())]);
    let elsewhere = Place {
        store: "store_2",
        ..place()
    };
    let refused = Problem::wrong(transit.unwrap(&elsewhere, &wrapped()).await.err().unwrap());
    assert!(refused.starts_with("what it decrypted is no key"), "{refused}");
}

#[tokio::test]
async fn what_was_altered_in_the_database_is_not_sent() {
    let (scene, play) = (Scene::new(), Play::start(vec![]).await);
    let mut altered = vec![wrapped(); 5];
    altered[0].bytes.clear();
    altered[1].bytes[0] = 2;
    altered[2].bytes = b"\x01no ciphertext".to_vec();
    altered[3].seal_key = "tb:v2".to_owned();
    altered[4].seal_key = "tb".to_owned();
    for altered in altered {
        let opened = scene.of(play.origin()).unwrap(&place(), &altered).await;
        assert_eq!(Problem::wrong(opened.err().unwrap()), "it was altered");
    }
    assert!(play.requests().is_empty());
}

#[tokio::test]
async fn the_key_in_use_is_read_or_found_out_by_encrypting() {
    let (scene, play) = (Scene::new(), Play::start(vec![]).await);
    let transit = scene.of(play.origin());
    play.add([Answer::json(
        200,
        &json!({"data": {"latest_version": 4, "type": "aes256-gcm96"}}),
    )]);
    assert_eq!(transit.key_in_use().await.unwrap(), "tb:v4");
    play.add([
        errors(403, "1 error occurred:\n\t* permission denied\n\n"),
        encrypted(),
    ]);
    assert_eq!(transit.key_in_use().await.unwrap(), "tb:v3");
    let paths: Vec<_> = play.requests().into_iter().map(|seen| seen.path).collect();
    assert_eq!(
        paths,
        [
            "/v1/team/transit/keys/tb",
            "/v1/team/transit/keys/tb",
            "/v1/team/transit/encrypt/tb"
        ]
    );
    play.add([errors(503, "Vault is sealed")]);
    assert_eq!(
        Problem::away(transit.key_in_use().await.err().unwrap()),
        "127.0.0.1 answers 503 (Vault is sealed): unseal it, or wait until it is back"
    );
}

#[tokio::test]
async fn the_token_is_read_for_each_use_and_shown_to_nobody() {
    let (scene, play) = (Scene::new(), Play::start(vec![]).await);
    let transit = scene.of(play.origin());
    for token in [TOKEN, "another"] {
        scene.write_token(&format!("{token}\n"), 0o600);
        play.add([errors(403, &format!("the token {token} is bad"))]);
        let reason = Problem::away(transit.unwrap(&place(), &wrapped()).await.err().unwrap());
        assert!(
            reason.starts_with("127.0.0.1 answers 403 (the token [redacted] is bad): "),
            "{reason}"
        );
        let sent = play.requests().pop().unwrap().headers;
        assert_eq!(sent["authorization"], format!("Bearer {token}"));
    }
}

#[tokio::test]
async fn a_token_that_is_not_there_yet_or_that_others_can_read_is_not_sent() {
    let (scene, play) = (Scene::new(), Play::start(vec![]).await);
    let file = scene.section.token_file.display().to_string();
    let transit = scene.of(play.origin());
    let reason = async || Problem::away(transit.unwrap(&place(), &wrapped()).await.err().unwrap());
    scene.write_token(TOKEN, 0o644);
    let says = format!("key.transit_token_file {file}: it is open to others than its owner");
    assert!(reason().await.starts_with(&says));
    scene.write_token("two words", 0o600);
    assert_eq!(
        reason().await,
        format!("key.transit_token_file {file}: it holds no token")
    );
    fs::remove_file(&file).unwrap();
    assert_eq!(
        reason().await,
        format!("key.transit_token_file {file}: there is no such file")
    );
    assert!(play.requests().is_empty());
}

#[tokio::test]
async fn a_namespace_is_named() {
    let (mut scene, play) = (Scene::new(), Play::start(vec![decrypted(&enclosed())]).await);
    scene.section.namespace = Some("team/a".to_owned());
    let opened = scene.of(play.origin()).unwrap(&place(), &wrapped()).await;
    assert!(opened.is_ok());
    assert_eq!(play.requests()[0].headers["x-vault-namespace"], "team/a");
}

#[tokio::test]
async fn what_may_pass_is_away_with_what_the_server_said() {
    for (answer, says) in [
        (
            errors(403, "permission denied"),
            "127.0.0.1 answers 403 (permission denied): see that the token in key.transit_token_file is one",
        ),
        (
            errors(
                404,
                "no handler for route \"nomount/decrypt/tb\". route entry not found.",
            ),
            "127.0.0.1 answers 404 (no handler for route \"nomount/decrypt/tb\". route entry not found.): see that",
        ),
        (
            errors(429, ""),
            "127.0.0.1 answers 429: it takes no more requests for now",
        ),
        (errors(500, "a\nb"), "127.0.0.1 answers 500 (a b)"),
        (
            errors(503, "Vault is sealed"),
            "127.0.0.1 answers 503 (Vault is sealed): unseal it",
        ),
        (Answer::text(502, "<html>"), "127.0.0.1 answers 502"),
        (
            Answer::text(307, "").header("location", "http://127.0.0.1:1/"),
            "127.0.0.1 answers 307: it sends elsewhere",
        ),
        (
            errors(
                400,
                "ciphertext or signature version is disallowed by policy (too old)",
            ),
            "127.0.0.1 answers 400 (ciphertext or signature version is disallowed by policy (too old))",
        ),
        (
            errors(400, "encryption key not found"),
            "127.0.0.1 answers 400 (encryption key not found)",
        ),
        (
            Answer::text(200, "<html>"),
            "what 127.0.0.1 answers is no answer of a Transit engine",
        ),
        (
            Answer::json(200, &json!({"data": {"ciphertext": CIPHERTEXT}})),
            "what 127.0.0.1 answers is no answer",
        ),
        (Answer::dropped(), "127.0.0.1 cannot be reached: "),
        (Answer::broken("{\"data\":"), "127.0.0.1 cannot be reached: "),
        (
            Answer::text(200, vec![b' '; 100_000]),
            "127.0.0.1 sent more than 65536 bytes",
        ),
    ] {
        let reason = Problem::away(not_unwrapped(answer).await);
        assert!(reason.starts_with(says), "{reason}\n{says}");
        assert!(!reason.contains('\n') && reason.len() < 500, "{reason}");
    }
}

#[tokio::test]
async fn what_is_no_ciphertext_of_the_key_is_refused() {
    for said in [
        "cipher: message authentication failed",
        "invalid ciphertext: unable to decrypt",
    ] {
        assert_eq!(
            Problem::wrong(not_unwrapped(errors(400, said)).await),
            format!(
                "127.0.0.1 answers 400 ({said}) (it was altered, or another key has the name of the one that wrapped it)"
            )
        );
        // In the mouth of a server that is not well, it says nothing about the ciphertext.
        Problem::away(not_unwrapped(errors(500, said)).await);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_or_says_nothing_is_not_waited_for() {
    let scene = Scene::new();
    let asked =
        async |transit: Transit| Problem::away(transit.unwrap(&place(), &wrapped()).await.err().unwrap());
    let reason = asked(scene.of(&deserted().await)).await;
    assert!(reason.starts_with("127.0.0.1 cannot be reached: "), "{reason}");
    let play = Play::start(vec![decrypted(&enclosed()).after(Arc::new(Notify::new()))]).await;
    let reason = asked(scene.limited(play.origin(), Duration::from_millis(50))).await;
    assert_eq!(reason, "127.0.0.1 did not answer within 50ms");
}

#[tokio::test]
async fn an_authority_of_ones_own_vouches_for_the_server_and_no_other_does() {
    let (config, certificate) = localhost();
    let play = Play::start_tls(config, vec![decrypted(&enclosed())]).await;
    let mut scene = Scene::new();
    let opened = async |scene: &Scene| scene.of(play.origin()).unwrap(&place(), &wrapped()).await;
    let file = scene.folder.path().join("ca.pem");
    let (_, another) = localhost();
    write(&file, &pem("CERTIFICATE", &another));
    scene.section.ca_file = Some(file.clone());
    let reason = Problem::away(opened(&scene).await.err().unwrap());
    assert!(
        reason.contains("certificate of localhost was not accepted"),
        "{reason}"
    );
    assert!(play.requests().is_empty());
    write(&file, &pem("CERTIFICATE", &certificate));
    assert!(opened(&scene).await.is_ok());
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
}
