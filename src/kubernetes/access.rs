//! Asks the Kubernetes API what the daemon may do (`authorization.k8s.io/v1`, `SelfSubjectAccessReview`).

use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::api::Api;
use crate::config::KubernetesApi;

const PATH: &str = "apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// What is to be done to which resource, in the words of RBAC.
#[derive(Debug, Clone, Copy)]
pub struct Deed<'a> {
    /// Such as `create`.
    pub verb: &'a str,
    /// The resource's API group; empty for the core.
    pub group: &'a str,
    /// Such as `nodes`.
    pub resource: &'a str,
    /// Which one; empty for any.
    pub name: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    status: Verdict,
}

#[derive(Deserialize)]
struct Verdict {
    #[serde(default)]
    allowed: bool,
}

/// Whether the daemon's service account may do this.
///
/// # Errors
/// A sentence, where the API cannot be asked.
pub async fn may(api: &KubernetesApi, deed: Deed<'_>) -> Result<bool, String> {
    let question = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": {
            "verb": deed.verb, "group": deed.group, "resource": deed.resource, "name": deed.name,
        }},
    });
    let reply = Api::new(api)
        .post(PATH, question.to_string().into_bytes().into())
        .await?;
    match reply.status {
        StatusCode::OK | StatusCode::CREATED => serde_json::from_slice::<Answer>(&reply.body)
            .map(|answer| answer.status.allowed)
            .map_err(|_| "the Kubernetes API's answer is no SelfSubjectAccessReview".to_owned()),
        status => Err(format!(
            "the Kubernetes API answered with HTTP {}",
            status.as_u16()
        )),
    }
}
