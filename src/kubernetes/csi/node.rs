//! The Node service: publishes and withdraws volumes.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use rustix::io::Errno;
use tokio::task::spawn_blocking;
use tonic::{Request, Response, Status};

use super::{
    mount,
    proof::prove,
    request::{Pod, Publication, target_path, volume_id},
    volumes::{Turns, Volume, Volumes},
};
use crate::{
    broker::{AgentHandle, Broker},
    budget::Refusals,
    kubernetes::{Reviewer, permit},
    manifest::Manifest,
    proto::csi::{
        NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse,
        NodePublishVolumeRequest, NodePublishVolumeResponse, NodeServiceCapability,
        NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
        node_server::Node,
        node_service_capability::{Rpc, Type, rpc},
    },
    text::ShowPath,
};

/// How long an agent's directory may take to be written before a pod is told to wait.
const DELIVERY: Duration = Duration::from_secs(30);

/// The service.
#[derive(Clone)]
pub(super) struct NodeService {
    pub(super) node_id: String,
    pub(super) broker: Arc<Broker>,
    pub(super) volumes: Arc<Volumes>,
    pub(super) reviewer: Arc<Reviewer>,
    /// The folder of the agents' directories.
    pub(super) agents: PathBuf,
    /// What went wrong with volumes: a kubelet tries again and again.
    pub(super) failures: Refusals,
}

#[tonic::async_trait]
impl Node for NodeService {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let publication = Publication::read(request.into_inner(), self.reviewer.audience())?;
        let service = self.clone();
        // By itself, so that a caller that goes away leaves nothing half done.
        ended(tokio::spawn(async move { service.publish(publication).await }).await)?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let (id, target) = (volume_id(&request.volume_id)?, target_path(&request.target_path)?);
        let turns = self.volumes.turns(&id, &target).await;
        let (volumes, failures) = (Arc::clone(&self.volumes), self.failures.clone());
        let withdrawn = spawn_blocking(move || {
            let _turns = turns;
            let failed = |doing, error| failed(&failures, doing, &target, &error);
            // What another volume has there is not this one's to take away.
            if volumes.other_at(&id, &target).is_none() {
                mount::withdraw(&target).map_err(|error| failed("withdrawn from", error))?;
            }
            if volumes.get(&id).is_some_and(|known| known.target != target) {
                return Ok(());
            }
            volumes.forget(&id).map_err(|error| failed("forgotten at", error))
        });
        ended(withdrawn.await)?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    /// `VOLUME_MOUNT_GROUP`: the kubelet hands over the pod's `fsGroup` and changes no owner by itself.
    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let rpc = Rpc {
            r#type: rpc::Type::VolumeMountGroup.into(),
        };
        Ok(Response::new(NodeGetCapabilitiesResponse {
            capabilities: vec![NodeServiceCapability {
                r#type: Some(Type::Rpc(rpc)),
            }],
        }))
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse {
            node_id: self.node_id.clone(),
            ..NodeGetInfoResponse::default()
        }))
    }
}

impl NodeService {
    async fn publish(&self, publication: Publication) -> Result<(), Status> {
        let turns = self.volumes.turns(&publication.volume, &publication.target).await;
        let agent = self.broker.agent_list.handle(&publication.agent).ok_or_else(|| {
            let name = &publication.agent;
            if self.broker.agent_list.is_arriving(name) {
                return Status::unavailable(format!("the agent {name} is being given to another holder"));
            }
            Status::not_found(format!(
                "this node knows no agent {name}: add its manifest, or correct volumeAttributes.agent"
            ))
        })?;
        let pod = publication.pod.clone();
        let published = self.publish_in_turn(publication, &agent, turns).await;
        match &published {
            Ok(()) => self
                .broker
                .journal
                .note_volume(agent.name(), &format!("to the pod {pod}")),
            Err(refused) if refused.code() == tonic::Code::PermissionDenied => {
                let detail = format!("to the pod {pod}: {}", refused.message());
                self.broker
                    .journal
                    .note_volume_refused(agent.name(), &pod.identity, &detail);
            }
            Err(_) => {}
        }
        published
    }

    async fn publish_in_turn(
        &self,
        publication: Publication,
        agent: &Arc<AgentHandle>,
        turns: Turns,
    ) -> Result<(), Status> {
        let Publication { pod, target, .. } = &publication;
        check(&agent.snapshot().manifest, pod, publication.group)?;
        prove(&self.reviewer, pod, &publication.token).await?;
        delivered(agent).await?;

        if let Some(known) = self.volumes.get(&publication.volume) {
            is_the_same(&known, &publication)?;
        }
        let volume = Volume::new(&publication.volume, target, agent.name(), &pod.identity);
        let source = self.agents.join(agent.name().as_str());
        let (volumes, failures) = (Arc::clone(&self.volumes), self.failures.clone());
        let agent = Arc::clone(agent);
        let mounted = spawn_blocking(move || {
            let _turns = turns;
            is_free(&volumes, &volume)?;
            mount_checked((&volumes, &failures), &volume, &source, || {
                if agent.is_removed() {
                    return Err(Status::not_found(format!(
                        "the agent {} was removed",
                        agent.name()
                    )));
                }
                check(&agent.snapshot().manifest, &publication.pod, publication.group)
            })
        });
        ended(mounted.await)
    }
}

/// Refuses another place, or another agent, for a volume that is published already. One volume is for one place: it is
/// neither shared by nodes nor by pods.
fn is_the_same(known: &Volume, publication: &Publication) -> Result<(), Status> {
    let published = || {
        let (agent, target) = (&known.agent, known.target.shown());
        format!("this volume is published already, for the agent {agent} at {target}")
    };
    if known.target != publication.target {
        Err(Status::failed_precondition(published()))
    } else if known.agent != publication.agent {
        Err(Status::already_exists(published()))
    } else {
        Ok(())
    }
}

/// Refuses a place at which another volume is. What is known of one that is not mounted there any more is forgotten.
fn is_free(volumes: &Volumes, volume: &Volume) -> Result<(), Status> {
    let Some(other) = volumes.other_at(&volume.id, &volume.target) else {
        return Ok(());
    };
    let looked = mount::is_mounted(&other.target).and_then(|is_mounted| {
        if !is_mounted {
            volumes.forget(&other.id)?;
        }
        Ok(is_mounted)
    });
    match looked {
        Ok(false) => Ok(()),
        Ok(true) | Err(_) => Err(Status::already_exists(format!(
            "another volume is published at {}, for the agent {}",
            other.target.shown(),
            other.agent
        ))),
    }
}

/// Mounts, and takes it back where it is allowed no longer. The volume is known before its permission is
/// checked, so a withdrawal after that finds it.
fn mount_checked(
    (volumes, failures): (&Volumes, &Refusals),
    volume: &Volume,
    source: &std::path::Path,
    allowed: impl Fn() -> Result<(), Status>,
) -> Result<(), Status> {
    let target = &volume.target;
    let failed = |doing, error| failed(failures, doing, target, &error);
    let before = volumes.get(&volume.id);
    volumes.keep(volume).map_err(|error| failed("noted for", error))?;
    let published = allowed()
        .and_then(|()| {
            let published = mount::publish(source, target, &volumes.stage(&volume.id));
            published.map_err(|error| failed("mounted at", error))
        })
        // The permission may have gone while it was mounted.
        .and_then(|()| allowed());
    published.inspect_err(|refused| {
        let undone = match &before {
            // It may have it, and may have it still: what was known of it is true again.
            Some(before) if refused.code() == tonic::Code::Internal => volumes.keep(before),
            _ => take_back(volumes, volume),
        };
        if let Err(error) = undone {
            failures.count(format_args!(
                "what is left of the refused volume {} is removed later: {error}",
                volume.id
            ));
        }
    })
}

/// Leaves nothing of a publication that failed. What is still mounted is remembered, so that it is found later.
fn take_back(volumes: &Volumes, volume: &Volume) -> io::Result<()> {
    let withdrawn = mount::withdraw(&volume.target);
    if withdrawn.is_err() && mount::is_mounted(&volume.target).unwrap_or(true) {
        return withdrawn;
    }
    volumes.forget(&volume.id)
}

/// Whether a pod may have the agent's directory, and can do something with it.
fn check(manifest: &Manifest, pod: &Pod, group: Option<u32>) -> Result<(), Status> {
    let agent = &manifest.agent;
    permit(manifest, &pod.identity, &format!("the pod {pod},")).map_err(Status::permission_denied)?;
    let Some(group) = group.filter(|group| manifest.gid != Some(*group)) else {
        return Ok(());
    };
    let readers = match (manifest.uid, manifest.gid) {
        (Some(uid), Some(gid)) => format!("uid {uid} and gid {gid}"),
        (Some(uid), None) => format!("uid {uid} alone"),
        (None, Some(gid)) => format!("the daemon's user and gid {gid}"),
        (None, None) => "the daemon's user alone".to_owned(),
    };
    Err(Status::failed_precondition(format!(
        "the pod's fsGroup is {group}, and what the agent {agent} is given can be read by {readers}: one directory serves \
         all of an agent's pods, so its group is the manifest's. Write `gid: {group}` there, or give the pod another \
         fsGroup"
    )))
}

/// Waits until the agent's directory is as it should be.
async fn delivered(agent: &AgentHandle) -> Result<(), Status> {
    let waited = tokio::time::timeout(DELIVERY, agent.delivered(agent.revision())).await;
    match (waited, agent.delivery_problem()) {
        (Ok(()), None) => Ok(()),
        (_, Some(problem)) => Err(Status::unavailable(format!(
            "the directory of the agent {} is not as it should be: {problem}",
            agent.name()
        ))),
        (Err(_), None) => Err(Status::unavailable(format!(
            "the directory of the agent {} is still being written",
            agent.name()
        ))),
    }
}

fn failed(failures: &Refusals, doing: &str, target: &std::path::Path, error: &io::Error) -> Status {
    let advice = match Errno::from_io_error(error) {
        Some(Errno::PERM | Errno::ACCESS) => {
            ": the daemon mounts, which takes CAP_SYS_ADMIN, and in a container the kubelet's folder with \
             `mountPropagation: Bidirectional`"
        }
        Some(Errno::NOENT) => ": the folder above it, or the agent's directory, is not there",
        Some(Errno::NOTDIR) => ": something that is no directory is in its place",
        Some(Errno::NOTEMPTY) => ": there are files in it that do not belong there",
        _ => "",
    };
    let message = format!(
        "the volume could not be {doing} {}: {error}{advice}",
        target.shown()
    );
    failures.count(&message);
    Status::internal(message)
}

/// What comes of work that was begun by itself.
fn ended<T>(ended: Result<Result<T, Status>, tokio::task::JoinError>) -> Result<T, Status> {
    ended.unwrap_or_else(|_| Err(Status::unavailable("the daemon is going down")))
}

#[cfg(test)]
mod tests;
