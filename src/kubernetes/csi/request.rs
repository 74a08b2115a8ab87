//! What the kubelet asks for, checked.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use tonic::Status;
use zeroize::Zeroize;

use crate::{
    id::AgentName,
    manifest::PodIdentity,
    proto::csi::{
        NodePublishVolumeRequest, VolumeCapability,
        volume_capability::{AccessType, MountVolume, access_mode::Mode},
    },
    secret::AccessToken,
};

/// The one attribute of a volume.
const AGENT: &str = "agent";
/// How what the kubelet adds begins.
const OF_KUBERNETES: &str = "csi.storage.k8s.io/";
const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";
/// Names and paths are at most this long (the CSI specification's limits are 128 bytes, and the system's for paths).
const MAX_ID: usize = 256;
const MAX_PATH: usize = 4000;

/// A pod, as the kubelet states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    /// Whom it runs as.
    pub(super) identity: PodIdentity,
    /// Its name.
    pub(super) name: String,
    /// Its id, which no other pod has or will have.
    pub(super) uid: String,
}

/// `namespace/name, which runs as namespace/serviceAccount`.
impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identity, name, .. } = self;
        write!(f, "{}/{name}, which runs as {identity}", identity.namespace)
    }
}

/// A volume to publish. No `Debug`: it holds a token.
pub(super) struct Publication {
    /// The volume's id.
    pub(super) volume: String,
    /// Where the pod's containers expect it.
    pub(super) target: PathBuf,
    /// Whose directory.
    pub(super) agent: AgentName,
    /// Whose containers.
    pub(super) pod: Pod,
    /// The group whose members are to read it: the pod's `fsGroup`.
    pub(super) group: Option<u32>,
    /// What proves the pod.
    pub(super) token: AccessToken,
}

impl Publication {
    /// Checks a request. The pod's tokens are taken out of it.
    pub(super) fn read(mut request: NodePublishVolumeRequest, audience: &str) -> Result<Self, Status> {
        let volume = volume_id(&request.volume_id)?;
        let target = target_path(&request.target_path)?;
        let group = group(request.volume_capability.take())?;
        let tokens = take_tokens(&mut request);
        let context = &mut request.volume_context;
        let agent = take(context, AGENT).ok_or_else(|| {
            Status::invalid_argument(
                "the volume names no agent: set `volumeAttributes: {agent: NAME}` in the pod's volume",
            )
        })?;
        let agent = agent
            .parse()
            .map_err(|error| Status::invalid_argument(format!("volumeAttributes.agent: {error}")))?;
        let pod = pod(context)?;
        if let Some(unknown) = context.keys().find(|key| !key.starts_with(OF_KUBERNETES)) {
            return Err(Status::invalid_argument(format!(
                "volumeAttributes.{}: there is no such attribute; `agent` is the only one",
                shown(unknown)
            )));
        }
        Ok(Self {
            volume,
            target,
            agent,
            pod,
            group,
            token: token(tokens.as_ref(), audience)?,
        })
    }
}

/// A volume's id.
pub(super) fn volume_id(id: &str) -> Result<String, Status> {
    if id.is_empty() || id.len() > MAX_ID {
        return Err(Status::invalid_argument(format!(
            "volume_id has to be there, and at most {MAX_ID} bytes long"
        )));
    }
    Ok(id.to_owned())
}

/// Where a volume is mounted.
pub(super) fn target_path(path: &str) -> Result<PathBuf, Status> {
    let target = Path::new(path);
    // Its components, without any way up.
    let plain = target
        .components()
        .all(|part| !matches!(part, std::path::Component::ParentDir));
    if !target.is_absolute() || !plain || target.file_name().is_none() || path.len() > MAX_PATH {
        return Err(Status::invalid_argument(
            "target_path has to be there, and an absolute path",
        ));
    }
    // One spelling for one place.
    Ok(target.components().collect())
}

/// Checks how the volume is wanted; returns the group that is to read it.
fn group(capability: Option<VolumeCapability>) -> Result<Option<u32>, Status> {
    let capability =
        capability.ok_or_else(|| Status::invalid_argument("volume_capability has to be there"))?;
    let mode = capability.access_mode.map(|access| access.mode());
    if mode.is_none_or(|mode| mode == Mode::Unknown) {
        return Err(Status::invalid_argument(
            "volume_capability.access_mode has to be there",
        ));
    }
    let mount: MountVolume = match capability.access_type {
        Some(AccessType::Mount(mount)) => mount,
        Some(AccessType::Block(_)) => {
            return Err(Status::invalid_argument(
                "an agent's directory is no block device: mount it as a file system",
            ));
        }
        None => {
            return Err(Status::invalid_argument(
                "volume_capability.access_type has to be there",
            ));
        }
    };
    let group = Some(mount.volume_mount_group).filter(|group| !group.is_empty());
    let parsed = group.as_deref().map(str::parse);
    parsed
        .transpose()
        .map_err(|_| Status::invalid_argument("volume_mount_group has to be the number of a group"))
}

/// The pod that the kubelet names.
fn pod(context: &mut HashMap<String, String>) -> Result<Pod, Status> {
    if take(context, "csi.storage.k8s.io/ephemeral").is_some_and(|ephemeral| ephemeral != "true") {
        return Err(Status::invalid_argument(
            "only inline volumes are served: declare the volume in the pod itself, with `csi:`",
        ));
    }
    let mut named = |key: &str| {
        let value = take(context, &format!("{OF_KUBERNETES}{key}")).filter(|value| !value.is_empty());
        value.ok_or_else(|| {
            Status::failed_precondition(format!(
                "the kubelet does not say which pod asks ({OF_KUBERNETES}{key} is missing): the CSIDriver object needs \
                 `podInfoOnMount: true`"
            ))
        })
    };
    Ok(Pod {
        identity: PodIdentity {
            namespace: named("pod.namespace")?.into(),
            service_account: named("serviceAccount.name")?.into(),
        },
        name: named("pod.name")?,
        uid: named("pod.uid")?,
    })
}

fn take(context: &mut HashMap<String, String>, key: &str) -> Option<String> {
    context.remove(key)
}

/// The pod's tokens, wherever this version of Kubernetes puts them; the rest of the secrets is wiped.
fn take_tokens(request: &mut NodePublishVolumeRequest) -> Option<AccessToken> {
    let tokens = request
        .volume_context
        .remove(TOKENS)
        .or_else(|| request.secrets.remove(TOKENS));
    request.secrets.values_mut().for_each(Zeroize::zeroize);
    tokens.map(AccessToken::from)
}

/// One of the tokens, as the kubelet writes them: by audience.
#[derive(Deserialize)]
struct Issued<'a> {
    #[serde(borrow)]
    token: Cow<'a, str>,
}

fn token(tokens: Option<&AccessToken>, audience: &str) -> Result<AccessToken, Status> {
    let missing = || {
        Status::failed_precondition(format!(
            "the kubelet sent no token of the pod's for the audience {audience}: the CSIDriver object needs \
             `tokenRequests: [{{audience: {audience}}}]`"
        ))
    };
    let tokens = tokens.ok_or_else(missing)?;
    // The reader's own words could repeat a token.
    let mut issued: HashMap<Cow<'_, str>, Issued<'_>> = serde_json::from_str(tokens.expose())
        .map_err(|_| Status::invalid_argument(format!("{TOKENS} is not what the kubelet writes")))?;
    let token = issued.remove(audience).ok_or_else(missing)?.token;
    Ok(AccessToken::from(token.into_owned()))
}

/// A name that somebody made up, neither endless nor able to move a cursor.
fn shown(text: &str) -> String {
    crate::text::quoted(text, 80)
}

#[cfg(test)]
mod tests;
