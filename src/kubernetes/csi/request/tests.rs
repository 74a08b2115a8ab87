//! Requests as the kubelet makes them, and as it does not.

use super::*;
use crate::proto::csi::volume_capability::{AccessMode, BlockVolume};

const TOKEN: &str =
    r#"{"token-broker.dev":{"token":"canary.pod.token","expirationTimestamp":"2026-01-15T10:30:00Z"}}"#;

fn request() -> NodePublishVolumeRequest {
    let context = [
        ("agent", "invoice-bot"),
        ("csi.storage.k8s.io/ephemeral", "true"),
        ("csi.storage.k8s.io/pod.name", "bot-1"),
        ("csi.storage.k8s.io/pod.namespace", "billing"),
        ("csi.storage.k8s.io/pod.uid", "uid-1"),
        ("csi.storage.k8s.io/serviceAccount.name", "invoice-bot"),
        (TOKENS, TOKEN),
    ];
    NodePublishVolumeRequest {
        volume_id: "csi-1".to_owned(),
        target_path: "/pods/uid-1/volumes/kubernetes.io~csi/token/mount".to_owned(),
        volume_capability: Some(VolumeCapability {
            access_mode: Some(AccessMode {
                mode: Mode::SingleNodeWriter.into(),
            }),
            access_type: Some(AccessType::Mount(MountVolume {
                volume_mount_group: "2000".to_owned(),
                ..MountVolume::default()
            })),
        }),
        volume_context: context
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..NodePublishVolumeRequest::default()
    }
}

fn read(request: NodePublishVolumeRequest) -> Result<Publication, String> {
    Publication::read(request, "token-broker.dev")
        .map_err(|status| format!("{:?}: {}", status.code(), status.message()))
}

fn refused(change: impl FnOnce(&mut NodePublishVolumeRequest)) -> String {
    let mut request = request();
    change(&mut request);
    read(request).err().unwrap()
}

#[test]
fn what_the_kubelet_sends_is_understood() {
    let publication = read(request()).unwrap();
    assert_eq!(publication.volume, "csi-1");
    assert_eq!(publication.agent.as_str(), "invoice-bot");
    assert_eq!(publication.group, Some(2000));
    assert_eq!(
        publication.pod.to_string(),
        "billing/bot-1, which runs as billing/invoice-bot"
    );
    assert_eq!(publication.pod.uid, "uid-1");
    assert!(publication.token == AccessToken::from("canary.pod.token"));
    // Where the CSIDriver object says `serviceAccountTokenInSecrets: true`.
    let mut elsewhere = request();
    let tokens = elsewhere.volume_context.remove(TOKENS).unwrap();
    elsewhere.secrets.insert(TOKENS.to_owned(), tokens);
    assert!(read(elsewhere).unwrap().token == AccessToken::from("canary.pod.token"));
}

#[test]
fn what_is_missing_or_wrong_is_named_and_no_token_is_repeated() {
    let put = |key: &'static str, value: &'static str| {
        move |request: &mut NodePublishVolumeRequest| {
            request.volume_context.insert(key.to_owned(), value.to_owned());
        }
    };
    let drop = |key: &'static str| {
        move |request: &mut NodePublishVolumeRequest| {
            request.volume_context.remove(key).unwrap();
        }
    };
    for (refused, words) in [
        (
            refused(|request| request.volume_id.clear()),
            "InvalidArgument: volume_id",
        ),
        (
            refused(|request| request.target_path.clear()),
            "InvalidArgument: target_path",
        ),
        (
            refused(|request| request.target_path = "/a/../b".to_owned()),
            "target_path",
        ),
        (
            refused(|request| request.target_path = "a/b".to_owned()),
            "target_path",
        ),
        (
            refused(|request| request.volume_capability = None),
            "volume_capability has to be there",
        ),
        (
            refused(|request| {
                let capability = request.volume_capability.as_mut().unwrap();
                capability.access_type = Some(AccessType::Block(BlockVolume {}));
            }),
            "is no block device",
        ),
        (refused(drop("agent")), "set `volumeAttributes: {agent: NAME}`"),
        (
            refused(put("agent", "No Name")),
            "volumeAttributes.agent: `No Name` is not an agent name",
        ),
        (
            refused(put("agnet", "x")),
            "volumeAttributes.agnet: there is no such attribute",
        ),
        (
            refused(put("csi.storage.k8s.io/ephemeral", "false")),
            "only inline volumes",
        ),
        (
            refused(drop("csi.storage.k8s.io/pod.uid")),
            "FailedPrecondition: the kubelet does not say",
        ),
        (
            refused(put("csi.storage.k8s.io/pod.namespace", "")),
            "`podInfoOnMount: true`",
        ),
        (
            refused(drop(TOKENS)),
            "`tokenRequests: [{audience: token-broker.dev}]`",
        ),
        (
            refused(put(TOKENS, r#"{"other":{"token":"canary.pod.token"}}"#)),
            "no token of the pod's for the audience token-broker.dev",
        ),
        (
            refused(put(TOKENS, "canary.pod.token")),
            "is not what the kubelet writes",
        ),
        (
            refused(put(
                TOKENS,
                r#"{"token-broker.dev":{"tokens":"canary.pod.token"}}"#,
            )),
            "is not what the kubelet writes",
        ),
    ] {
        assert!(refused.contains(words), "{refused}");
        assert!(!refused.contains("canary"), "{refused}");
    }
}
