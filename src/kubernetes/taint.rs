//! The taint that keeps pods from a node until the daemon there is ready (`spec.taints` of a `Node`).

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::api::Api;
use crate::{broker::backoff, clock::SharedClock, config::TaintSection, entropy::SharedEntropy};

/// A taint of this node's, to be removed.
pub struct StartupTaint {
    api: Api,
    node: String,
    key: String,
}

/// The outcome of one try.
#[derive(Debug, PartialEq, Eq)]
enum Tried {
    /// It was removed.
    Removed,
    /// It is not there.
    Absent,
    /// Somebody else changed the node's taints in between.
    Changed,
}

#[derive(Deserialize)]
struct Node {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    taints: Vec<Value>,
}

impl StartupTaint {
    /// Asks nothing yet.
    pub fn new(section: &TaintSection, node: &str) -> Self {
        Self {
            api: Api::new(&section.api),
            node: node.to_owned(),
            key: section.key.clone(),
        }
    }

    /// Removes it when the driver is `registered`, where there is one, and tries until that is done.
    pub async fn remove(
        self,
        registered: Option<watch::Receiver<bool>>,
        clock: SharedClock,
        entropy: SharedEntropy,
        shutdown: CancellationToken,
    ) {
        let work = async {
            if let Some(mut registered) = registered
                && registered.wait_for(|registered| *registered).await.is_err()
            {
                // The driver has ended, and all else will.
                return;
            }
            self.try_until_done(&clock, &entropy).await;
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    }

    async fn try_until_done(&self, clock: &SharedClock, entropy: &SharedEntropy) {
        let Self { node, key, .. } = self;
        let mut said = None;
        let mut failures = 0;
        loop {
            match self.attempt().await {
                Ok(Tried::Removed) => {
                    return tracing::info!(node, taint = key, "the node's taint was removed");
                }
                Ok(Tried::Absent) => return tracing::info!(node, taint = key, "the node has no such taint"),
                Ok(Tried::Changed) => {
                    tracing::debug!(node, taint = key, "the node was changed meanwhile");
                }
                Err(problem) => {
                    if said.as_ref() != Some(&problem) {
                        tracing::error!(
                            node,
                            taint = key,
                            "the node's taint cannot be removed, and is tried again: {problem}"
                        );
                    }
                    said = Some(problem);
                }
            }
            // Pods wait for it: half a minute at most.
            failures = (failures + 1).min(4);
            let pause = backoff::delay(&**entropy, failures, None);
            clock.sleep_until(clock.uptime().after(pause)).await;
        }
    }

    /// Whether the node has it now.
    ///
    /// # Errors
    /// Why that cannot be told, in a sentence.
    pub async fn is_there(&self) -> Result<bool, String> {
        Ok(removal(&self.taints().await?, &self.key).is_some())
    }

    fn path(&self) -> String {
        format!("api/v1/nodes/{}", self.node)
    }

    async fn taints(&self) -> Result<Vec<Value>, String> {
        let reply = self.api.get(&self.path()).await?;
        if reply.status != StatusCode::OK {
            return Err(self.problem(reply.status, "get"));
        }
        let node: Node = serde_json::from_slice(&reply.body)
            .map_err(|_| "the Kubernetes API's answer is no Node".to_owned())?;
        Ok(node.spec.taints)
    }

    async fn attempt(&self) -> Result<Tried, String> {
        let Some(patch) = removal(&self.taints().await?, &self.key) else {
            return Ok(Tried::Absent);
        };
        let patch = patch.to_string().into_bytes();
        let reply = self.api.patch(&self.path(), patch).await?;
        match reply.status {
            StatusCode::OK => Ok(Tried::Removed),
            // A test that failed, and a write that came first.
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::CONFLICT => Ok(Tried::Changed),
            status => Err(self.problem(status, "patch")),
        }
    }

    fn problem(&self, status: StatusCode, verb: &str) -> String {
        match status {
            StatusCode::FORBIDDEN => format!(
                "the daemon may not {verb} `nodes`: bind a ClusterRole with the verbs get and patch on nodes to its \
                 service account"
            ),
            StatusCode::NOT_FOUND => format!(
                "the cluster has no node {}: set kubernetes.node_name to this node's name there",
                self.node
            ),
            status => format!("the Kubernetes API answered with HTTP {}", status.as_u16()),
        }
    }
}

/// The patch that takes the taints of this key out of `taints`, from the last on so that the others keep their places
/// until it is their turn. Each has to be where it was seen, or nothing is changed. `None` when there are none.
fn removal(taints: &[Value], key: &str) -> Option<Value> {
    let ours = taints.iter().enumerate().filter(|(_, taint)| taint["key"] == key);
    let steps: Vec<Value> = ours
        .rev()
        .flat_map(|(index, taint)| {
            let path = format!("/spec/taints/{index}");
            [
                json!({ "op": "test", "path": path, "value": taint }),
                json!({ "op": "remove", "path": path }),
            ]
        })
        .collect();
    (!steps.is_empty()).then_some(Value::Array(steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_names_ours_alone_and_the_last_first() {
        let ours = json!({ "key": "a/b", "effect": "NoSchedule" });
        let other = json!({ "key": "c", "effect": "NoExecute", "timeAdded": "2026-01-15T10:30:00Z" });
        let again = json!({ "key": "a/b", "effect": "NoExecute" });
        assert_eq!(removal(std::slice::from_ref(&other), "a/b"), None);
        assert_eq!(
            removal(&[ours.clone(), other, again.clone()], "a/b").unwrap(),
            json!([
                { "op": "test", "path": "/spec/taints/2", "value": again },
                { "op": "remove", "path": "/spec/taints/2" },
                { "op": "test", "path": "/spec/taints/0", "value": ours },
                { "op": "remove", "path": "/spec/taints/0" },
            ])
        );
    }
}
