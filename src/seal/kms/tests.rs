use std::{fs, sync::Arc};

use tonic::Status;

use super::{
    testing::{TestPlugin, silent},
    *,
};
use crate::vault::KeyId;

const SEAL: &str = "kms:unix:///run/kms.sock";
/// Longer than any machine takes.
const LONG: Duration = Duration::from_secs(60);
/// For what never answers.
const SHORT: Duration = Duration::from_millis(50);

fn place() -> Place<'static> {
    Place {
        store: "store_1",
        key: KeyId::from_bytes([7; 8]),
    }
}

fn secret() -> Key {
    Key::new([9; 32])
}

fn kms(socket: &Path, limit: Duration) -> Kms {
    Kms {
        socket: socket.to_owned(),
        limit,
    }
}

fn of(plugin: &TestPlugin) -> Kms {
    kms(&plugin.socket(), LONG)
}

async fn wrap(plugin: &TestPlugin) -> Result<WrappedKey, Problem> {
    of(plugin).wrap(SEAL, &place(), &secret()).await
}

/// Why nothing was wrapped, and whether that may change.
async fn not_wrapped(plugin: &TestPlugin) -> Problem {
    wrap(plugin).await.err().unwrap()
}

#[tokio::test]
async fn a_key_is_wrapped_and_unwrapped_and_what_is_wrapped_says_which_key_did_it() {
    let plugin = TestPlugin::start();
    assert_eq!(of(&plugin).key_in_use().await.ok().as_deref(), Some("key-1"));
    let wrapped = wrap(&plugin).await.ok().unwrap();
    assert_eq!(
        (wrapped.seal.as_str(), wrapped.seal_key.as_str()),
        (SEAL, "key-1")
    );
    let opened = of(&plugin).unwrap(&place(), &wrapped).await.ok().unwrap();
    assert_eq!(opened.expose(), secret().expose());
    assert_eq!(
        plugin.calls(),
        ["Status", "Status", "Encrypt", "Decrypt", "Decrypt"]
    );
}

#[tokio::test]
async fn each_request_has_a_uid_of_its_own() {
    let plugin = TestPlugin::start();
    wrap(&plugin).await.ok().unwrap();
    wrap(&plugin).await.ok().unwrap();
    let mut uids = plugin.uids();
    uids.retain(|uid| !uid.is_empty());
    assert_eq!(uids.len(), 4);
    uids.sort_unstable();
    uids.dedup();
    assert_eq!(uids.len(), 4);
}

#[tokio::test]
async fn what_is_wrapped_opens_at_its_place_alone() {
    let plugin = TestPlugin::start();
    let wrapped = wrap(&plugin).await.ok().unwrap();
    let elsewhere = Place {
        store: "store_2",
        ..place()
    };
    let refused = of(&plugin).unwrap(&elsewhere, &wrapped).await.err().unwrap();
    assert_eq!(
        Problem::wrong(refused),
        "what it decrypted is no key, or the key of another database or place"
    );
}

#[tokio::test]
async fn what_was_altered_in_the_database_is_not_sent_to_the_plugin() {
    let plugin = TestPlugin::start();
    let wrapped = wrap(&plugin).await.ok().unwrap();
    let asked = plugin.calls().len();
    let mut altered = vec![wrapped.clone(); 4];
    altered[0].bytes.clear();
    altered[1].bytes[0] = 2;
    altered[2].bytes.truncate(20);
    altered[3].seal_key = "key-2".to_owned();
    for altered in altered {
        assert_eq!(
            Problem::wrong(of(&plugin).unwrap(&place(), &altered).await.err().unwrap()),
            "it was altered"
        );
    }
    assert_eq!(plugin.calls().len(), asked);
}

#[tokio::test]
async fn nothing_is_wrapped_while_the_plugin_is_not_healthy_and_its_key_is_not_known() {
    let plugin = TestPlugin::start();
    plugin.set(|behaviour| behaviour.healthz = "the HSM is away");
    let reason = "the plugin says that it is not healthy: the HSM is away; look at its log";
    assert_eq!(Problem::away(not_wrapped(&plugin).await), reason);
    assert_eq!(
        Problem::away(of(&plugin).key_in_use().await.err().unwrap()),
        reason
    );
    assert_eq!(plugin.calls(), ["Status", "Status"]);
    plugin.set(|behaviour| behaviour.healthz = "ok");
    assert!(wrap(&plugin).await.is_ok());
}

#[tokio::test]
async fn a_plugin_that_changes_its_key_meanwhile_is_asked_again() {
    let plugin = TestPlugin::start();
    plugin.set(|behaviour| {
        behaviour.status_keys = ["key-1", "key-2"].into();
        behaviour.encrypt_keys = ["key-2"].into();
    });
    assert_eq!(wrap(&plugin).await.ok().unwrap().seal_key, "key-2");
    assert_eq!(
        plugin.calls(),
        ["Status", "Encrypt", "Status", "Encrypt", "Decrypt"]
    );
}

#[tokio::test]
async fn a_plugin_that_does_not_agree_with_itself_wraps_nothing() {
    let plugin = TestPlugin::start();
    plugin.set(|behaviour| behaviour.encrypt_keys = ["key-2"].into());
    assert_eq!(
        Problem::away(not_wrapped(&plugin).await),
        "the plugin says that its key is \"key-1\" and encrypts with \"key-2\": look at its log"
    );
    assert_eq!(plugin.calls().len(), 2 * ATTEMPTS);
    assert!(!plugin.calls().contains(&"Decrypt"));
}

#[tokio::test]
async fn a_plugin_that_does_not_give_back_what_it_encrypted_wraps_nothing() {
    let plugin = TestPlugin::start();
    plugin.set(|behaviour| behaviour.is_wrong = true);
    assert_eq!(
        Problem::wrong(not_wrapped(&plugin).await),
        "the plugin does not decrypt what it encrypted"
    );
    plugin.set(|behaviour| behaviour.is_wrong = false);
    let wrapped = wrap(&plugin).await.ok().unwrap();
    plugin.set(|behaviour| behaviour.is_wrong = true);
    let opened = of(&plugin).unwrap(&place(), &wrapped).await.err().unwrap();
    assert!(Problem::wrong(opened).starts_with("what it decrypted is no key"));
}

#[tokio::test]
async fn a_refusal_is_told_in_one_short_line() {
    let plugin = TestPlugin::start();
    let wrapped = wrap(&plugin).await.ok().unwrap();
    let said = format!("no such key\n\u{1b}[2J{}", "a word ".repeat(500));
    plugin.set(|behaviour| behaviour.refuses = Some(Status::not_found(said)));
    let reason = Problem::away(of(&plugin).unwrap(&place(), &wrapped).await.err().unwrap());
    assert!(
        reason.starts_with("the plugin answers Decrypt with NotFound: no such key  [2Ja word a word"),
        "{reason}"
    );
    assert!(reason.chars().count() < 300, "{reason}");
}

#[tokio::test]
async fn answers_that_break_the_protocol_or_have_no_end_wrap_nothing() {
    let plugin = TestPlugin::start();
    for (change, says) in [
        (
            (|behaviour| behaviour.padding = 1025 - 64) as fn(&mut testing::Behaviour),
            "a ciphertext of 1025 bytes",
        ),
        (
            |behaviour| behaviour.padding = 10 * 1024 * 1024,
            "answers Encrypt with OutOfRange",
        ),
        (|behaviour| behaviour.status_keys = [""].into(), "an empty key_id"),
        (
            |behaviour| behaviour.version = "v1beta1",
            "speaks version \"v1beta1\"",
        ),
        (
            |behaviour| behaviour.annotations = [("no domain".to_owned(), Vec::new())].into(),
            "to be a domain name",
        ),
    ] {
        plugin.set(|behaviour| {
            *behaviour = testing::Behaviour::default();
            change(behaviour);
        });
        let reason = Problem::away(not_wrapped(&plugin).await);
        assert!(reason.contains(says), "{reason}");
    }
}

#[tokio::test]
async fn a_call_that_hangs_ends() {
    let plugin = TestPlugin::start();
    let wrapped = wrap(&plugin).await.ok().unwrap();
    let impatient = kms(&plugin.socket(), SHORT);
    for call in ["Status", "Encrypt", "Decrypt"] {
        plugin.set(|behaviour| behaviour.hangs = Some(call));
        let reason = match call {
            "Decrypt" => Problem::away(impatient.unwrap(&place(), &wrapped).await.err().unwrap()),
            // The calls before the one that hangs may take long on a busy machine; it is the last that counts.
            _ => Problem::away(impatient.wrap(SEAL, &place(), &secret()).await.err().unwrap()),
        };
        assert_eq!(
            reason,
            "the plugin did not answer within 0.05 s: look at its log, and start it again if it hangs"
        );
    }
}

#[tokio::test]
async fn a_socket_of_no_use_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("kms.sock");
    let asked = async |limit| Problem::away(kms(&socket, limit).key_in_use().await.err().unwrap());

    assert!(asked(LONG).await.starts_with("there is no such socket: "));
    fs::write(&socket, "").unwrap();
    assert!(asked(LONG).await.starts_with("that is no socket: "));
    fs::remove_file(&socket).unwrap();

    let listener = Arc::new(silent(&socket));
    assert!(asked(SHORT).await.contains("did not answer within 0.05 s"));
    let closing = Arc::clone(&listener);
    let closes = tokio::spawn(async move {
        while let Ok((stream, _)) = closing.accept().await {
            drop(stream);
        }
    });
    assert!(
        asked(LONG)
            .await
            .starts_with("the plugin ended the connection before it answered")
    );
    closes.abort();
    let _ = closes.await;
    drop(listener);
    assert_eq!(asked(LONG).await, "no plugin listens on the socket: start it");
}
