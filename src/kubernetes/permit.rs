//! Which pods an agent is given to.

use crate::manifest::{Manifest, PodIdentity};

/// Whether the agent of `manifest` is given to pods that run as `identity`. `asker` is the pod in the refusal.
///
/// # Errors
/// A sentence that names both sides and what to change.
pub(crate) fn permit(manifest: &Manifest, identity: &PodIdentity, asker: &str) -> Result<(), String> {
    let agent = &manifest.agent;
    match manifest.kubernetes.as_deref() {
        None => Err(format!(
            "the agent {agent} is given to no pod, and {asker} asks for it: add `kubernetes: {{namespace: {}, \
             serviceAccount: {}}}` to the agent's manifest to give it to that one",
            identity.namespace, identity.service_account
        )),
        Some(allowed) if allowed != identity => Err(format!(
            "the agent {agent} is for pods that run as {allowed}, and {asker} asks for it: run the pod as that service \
             account, or change `kubernetes:` in the agent's manifest"
        )),
        Some(_) => Ok(()),
    }
}
