//! Volumes on real folders, and real mounts where the tests may make any.

use super::*;

fn identity(service_account: &str) -> PodIdentity {
    PodIdentity {
        namespace: "billing".into(),
        service_account: service_account.into(),
    }
}

fn volume(folder: &Path, id: &str) -> Volume {
    Volume::new(
        id,
        &folder.join("mount"),
        &"bot".parse().unwrap(),
        &identity("bot"),
    )
}

#[test]
fn what_was_kept_is_known_after_a_restart_and_half_a_file_is_not() {
    let temp = tempfile::tempdir().unwrap();
    let volumes = Volumes::open(temp.path()).unwrap();
    let one = volume(temp.path(), "csi-1/../../etc");
    volumes.keep(&one).unwrap();
    volumes.keep(&volume(temp.path(), "csi-2")).unwrap();
    volumes.forget("csi-2").unwrap();
    volumes.forget("csi-2").unwrap();
    fs::write(volumes.file("csi-3"), "{\"id\":").unwrap();
    fs::write(
        volumes.file("csi-4").with_extension("new"),
        serde_json::to_vec(&one).unwrap(),
    )
    .unwrap();
    let again = Volumes::open(temp.path()).unwrap();
    assert_eq!((again.len(), again.get(&one.id)), (1, Some(one)));
    assert_eq!(fs::read_dir(temp.path().join("volumes")).unwrap().count(), 1);
}

#[test]
fn a_pod_that_may_not_have_it_is_a_stranger_until_it_is_cut_off() {
    let temp = tempfile::tempdir().unwrap();
    let volumes = Volumes::open(temp.path()).unwrap();
    let bot: AgentName = "bot".parse().unwrap();
    assert!(!volumes.has_stranger(&bot, None));
    volumes.keep(&volume(temp.path(), "csi-1")).unwrap();
    assert!(!volumes.has_stranger(&bot, Some(&identity("bot"))));
    assert!(volumes.has_stranger(&bot, Some(&identity("other"))));
    assert!(volumes.has_stranger(&bot, None));
    assert!(!volumes.has_stranger(&"other".parse().unwrap(), None));
    volumes.cut_off(&bot);
    assert!(!volumes.has_stranger(&bot, None));
    assert!(
        !Volumes::open(temp.path()).unwrap().has_stranger(&bot, None),
        "also after a restart"
    );
}

#[tokio::test]
async fn turns_of_one_volume_are_taken_one_after_the_other() {
    let temp = tempfile::tempdir().unwrap();
    let volumes = Volumes::open(temp.path()).unwrap();
    let first = volumes.turn("csi-1").await;
    let mut second = Box::pin(volumes.turn("csi-1"));
    assert!(futures_util::poll!(second.as_mut()).is_pending());
    drop(volumes.turn("csi-2").await);
    assert!(futures_util::poll!(second.as_mut()).is_pending());
    drop(first);
    drop(second.await);
    drop(volumes.turn("csi-3").await);
    assert_eq!(lock(&volumes.turns).len(), 1, "those of nobody are forgotten");
}
