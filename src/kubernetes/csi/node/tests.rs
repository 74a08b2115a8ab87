//! Which pods may have which agent's directory.

use super::*;
use crate::telemetry::captured::Captured;

const HEAD: &str = "agent: invoice-bot\nowner: alice\n";
const ALLOWED: &str = "kubernetes: {namespace: billing, serviceAccount: invoice-bot}\n";

fn pod(namespace: &str, service_account: &str) -> Pod {
    Pod {
        identity: crate::manifest::PodIdentity {
            namespace: namespace.into(),
            service_account: service_account.into(),
        },
        name: "bot-1".to_owned(),
        uid: "uid-1".to_owned(),
    }
}

fn checked(rest: &str, pod: &Pod, group: Option<u32>) -> Result<(), String> {
    let manifest = Manifest::from_yaml(&format!("{HEAD}{rest}"), "bot.yaml").unwrap();
    check(&manifest, pod, group).map_err(|status| format!("{:?}: {}", status.code(), status.message()))
}

#[test]
fn only_the_pods_that_the_manifest_names_may_have_the_directory() {
    let bot = pod("billing", "invoice-bot");
    assert_eq!(checked(ALLOWED, &bot, None), Ok(()));
    assert_eq!(
        checked("", &bot, None).unwrap_err(),
        "PermissionDenied: the agent invoice-bot is given to no pod, and the pod billing/bot-1, which runs as \
         billing/invoice-bot, asks for it: add `kubernetes: {namespace: billing, serviceAccount: invoice-bot}` to the \
         agent's manifest to give it to that one"
    );
    for other in [pod("billing", "default"), pod("other", "invoice-bot")] {
        assert_eq!(
            checked(ALLOWED, &other, None).unwrap_err(),
            format!(
                "PermissionDenied: the agent invoice-bot is for pods that run as billing/invoice-bot, and the pod {other}, \
                 asks for it: run the pod as that service account, or change `kubernetes:` in the agent's manifest"
            )
        );
    }
}

#[test]
fn an_fs_group_has_to_be_the_group_that_the_manifest_names() {
    let bot = pod("billing", "invoice-bot");
    let with = |rest: &str| checked(&format!("{ALLOWED}{rest}"), &bot, Some(2000));
    assert_eq!(with("gid: 2000\n"), Ok(()));
    for (rest, readers) in [
        ("", "the daemon's user alone"),
        ("uid: 1000\n", "uid 1000 alone"),
        ("gid: 3000\n", "the daemon's user and gid 3000"),
        ("uid: 1000\ngid: 3000\n", "uid 1000 and gid 3000"),
    ] {
        let refused = with(rest).unwrap_err();
        assert!(
            refused.starts_with("FailedPrecondition: the pod's fsGroup is 2000"),
            "{refused}"
        );
        assert!(refused.contains(&format!("read by {readers}:")), "{refused}");
        assert!(refused.contains("Write `gid: 2000` there"), "{refused}");
    }
}

#[test]
fn a_kubelet_that_tries_again_and_again_is_one_line() {
    let lines = Captured::start();
    let failures = Refusals::new("volumes could not be published");
    let denied = io::Error::from(Errno::PERM);
    for _ in 0..100 {
        let target = std::path::Path::new("/kubelet/pods/1/mount");
        let status = failed(&failures, "mounted at", target, &denied);
        assert!(status.message().contains("CAP_SYS_ADMIN"));
    }
    let lines = lines.take();
    assert!(
        lines.len() == 1 && lines[0].contains("/kubelet/pods/1/mount"),
        "{lines:?}"
    );
}
