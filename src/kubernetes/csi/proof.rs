//! Whether a pod is who the kubelet says.

use tonic::Status;

use super::request::Pod;
use crate::{
    kubernetes::{Proven, ReviewError, Reviewer},
    secret::AccessToken,
};

/// Makes sure that `token` is that pod's.
///
/// # Errors
/// Where it is not, or nobody can say.
pub(super) async fn prove(reviewer: &Reviewer, pod: &Pod, token: &AccessToken) -> Result<(), Status> {
    let refused = |reason: String| {
        Status::permission_denied(format!(
            "the token that the kubelet sent does not prove the pod {pod}: {reason}"
        ))
    };
    match reviewer.review(token).await {
        Ok(proven) => judge(&proven, pod).map_err(refused),
        Err(ReviewError::Refused(reason)) => Err(refused(reason)),
        Err(ReviewError::Unavailable(what)) => Err(Status::unavailable(format!(
            "nobody can say whether the pod's token is genuine: {what}"
        ))),
    }
}

fn judge(proven: &Proven, pod: &Pod) -> Result<(), String> {
    if proven.identity != pod.identity {
        return Err(format!("it is of {}", proven.identity));
    }
    if proven.pod_uid.as_deref() != Some(pod.uid.as_str()) {
        return Err(format!("it is not bound to this pod (uid {})", pod.uid));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::PodIdentity;

    fn identity(namespace: &str, service_account: &str) -> PodIdentity {
        PodIdentity {
            namespace: namespace.into(),
            service_account: service_account.into(),
        }
    }

    #[test]
    fn only_that_pods_own_token_proves_it() {
        let pod = Pod {
            identity: identity("billing", "invoice-bot"),
            name: "bot-1".to_owned(),
            uid: "uid-1".to_owned(),
        };
        let judged = |namespace, service_account, pod_uid: Option<&str>| {
            let proven = Proven {
                identity: identity(namespace, service_account),
                pod_uid: pod_uid.map(str::to_owned),
            };
            judge(&proven, &pod)
        };
        assert_eq!(judged("billing", "invoice-bot", Some("uid-1")), Ok(()));
        for (namespace, service_account, pod_uid, reason) in [
            ("billing", "default", Some("uid-1"), "it is of billing/default"),
            (
                "other",
                "invoice-bot",
                Some("uid-1"),
                "it is of other/invoice-bot",
            ),
            ("billing", "invoice-bot", Some("uid-2"), "not bound to this pod"),
            ("billing", "invoice-bot", None, "not bound to this pod"),
        ] {
            let refused = judged(namespace, service_account, pod_uid).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }
}
