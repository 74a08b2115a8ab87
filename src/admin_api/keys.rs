//! The keyring over gRPC: what it is, its rotation, another seal, whether every row opens.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{
    principal::Principal,
    status::{status, store},
};
use crate::{
    config::{InForce, KeySection, KeySource, way, writers},
    keyring::{KeyReport, KeyringCases, KeyringError, Progress, Resealed},
    proto::{timestamp, v1},
    seal::{Seal, SealError},
    store::{KeyState, RowPlace, RowsSeen},
    telemetry::audit::Actor,
    vault::KeyId,
};

/// Messages that wait for a slow reader.
const WAITING: usize = 4;

/// A stream of answers.
pub(super) type Answers<T> = ReceiverStream<Result<T, Status>>;

/// The keyring as it is.
pub(super) async fn get(keyring: &KeyringCases) -> Result<v1::GetKeysResponse, Status> {
    let report = keyring.inspection.report().await.map_err(|error| store(&error))?;
    let (seal_key, seal_problem) = match report.seal_key {
        Ok(key) => (key, String::new()),
        Err(problem) => (String::new(), problem),
    };
    Ok(v1::GetKeysResponse {
        keys: report.keys.into_iter().map(key).collect(),
        seal: report.seal,
        seal_key,
        seal_problem,
        keep_days: report.keep_days.into(),
    })
}

fn key(report: KeyReport) -> v1::KeyringKey {
    let state = match report.state {
        KeyState::Pending => v1::KeyState::Pending,
        KeyState::Active => v1::KeyState::Active,
        KeyState::Retiring => v1::KeyState::Retiring,
        KeyState::Retired => v1::KeyState::Retired,
    };
    v1::KeyringKey {
        id: report.id.to_string(),
        state: state.into(),
        created_at: Some(timestamp(report.created_at)),
        changed_at: Some(timestamp(report.changed_at)),
        rows: report.rows,
        seal: report.seal,
        seal_key: report.seal_key,
    }
}

/// Begins a rotation, or joins the one under way.
pub(super) async fn rotate(
    keyring: &Arc<KeyringCases>,
    actor: Actor,
    shutdown: CancellationToken,
) -> Result<Answers<v1::RotateKeyResponse>, Status> {
    let mut progress = keyring.rotation.progress();
    let active = keyring.rotate(actor).await.map_err(|error| refused(&error))?;
    let (answers, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut last = None;
        loop {
            let now = progress.borrow_and_update().clone();
            // Before the walk has begun, and where the next rotation has begun after it, it is of another one.
            let is_ours = now.active == Some(active);
            let ended = if is_ours {
                now.retiring.is_empty()
            } else {
                last.is_some()
            };
            let told = if is_ours { Some(now) } else { last.take() };
            if let Some(told) = told {
                last = Some(told.clone());
                if answers.send(Ok(rotation(told, ended))).await.is_err() || ended {
                    return;
                }
            }
            tokio::select! {
                changed = progress.changed() => if changed.is_err() { return },
                () = shutdown.cancelled() => {
                    let message = "the daemon is going down: the rotation goes on after its next start";
                    let _ = answers.send(Err(status(Code::Unavailable, "shutting_down", message))).await;
                    return;
                }
                () = answers.closed() => return,
            }
        }
    });
    Ok(ReceiverStream::new(receiver))
}

fn rotation(progress: Progress, ended: bool) -> v1::RotateKeyResponse {
    v1::RotateKeyResponse {
        active_key: progress.active.as_ref().map(KeyId::to_string).unwrap_or_default(),
        retiring_keys: progress.retiring.iter().map(KeyId::to_string).collect(),
        rows_done: progress.seen.rows,
        rows_total: progress.rows,
        rows_moved: progress.seen.moved,
        rows_unusable: progress.seen.unusable_count,
        unusable: progress.seen.unusable,
        problem: progress.trouble.unwrap_or_default(),
        ended,
    }
}

/// Wraps the keyring with another seal.
pub(super) async fn reseal(
    keyring: &Arc<KeyringCases>,
    in_force: &InForce,
    request: v1::ResealKeysRequest,
    caller: &Principal,
) -> Result<v1::ResealKeysResponse, Status> {
    let resealed = reseal_with(keyring, in_force, &request.seal, caller).await;
    resealed.inspect_err(|refusal| {
        tracing::warn!(%caller, reason = refusal.message(), "the keyring was not sealed anew");
    })
}

async fn reseal_with(
    keyring: &Arc<KeyringCases>,
    in_force: &InForce,
    named: &str,
    caller: &Principal,
) -> Result<v1::ResealKeysResponse, Status> {
    let section = in_force.key_on_disk();
    let section = section.map_err(|error| misconfigured(&error.to_string()))?;
    let source = match named {
        "" => section.source.clone(),
        named => named_seal(named, &section, caller)?,
    };
    let seal = Seal::configured(&source, &section).await;
    let seal = seal.map_err(|error| misconfigured(&format!("{error:#}")))?;
    let done = keyring.reseal(Some(seal), caller.actor()).await;
    let done = done.map_err(|error| refused(&error))?;
    let advice = advice(&source, &section);
    in_force.note_seal(KeySection { source, ..section });
    Ok(resealed(done, advice))
}

/// The seal that a request names. Who names one is given every key of the keyring by it.
fn named_seal(named: &str, section: &KeySection, caller: &Principal) -> Result<KeySource, Status> {
    let invalid = |message: String| status(Code::InvalidArgument, "invalid_request", message);
    let source: KeySource = named.parse().map_err(|error| {
        let named = crate::text::quoted(named, 80);
        invalid(format!("the seal {named}: {error}"))
    })?;
    if source == section.source {
        return Ok(source);
    }
    match (&source, caller) {
        (_, Principal::Client(_)) => Err(status(
            Code::PermissionDenied,
            "not_permitted",
            "over TLS no seal is named, because its keeper would get the keys: name it in key.source of the broker's \
             configuration, and run this again without it",
        )),
        (KeySource::Command(_), _) => Err(misconfigured(
            "which program is started is for the configuration to say: name the command in key.source, and run this again",
        )),
        (KeySource::File(path), _) if path.is_relative() => Err(invalid(format!(
            "the seal {source}: name the file with its whole path, since the daemon's folder is another one"
        ))),
        _ => Ok(source),
    }
}

/// What is still to be done after the keyring was sealed anew.
fn advice(source: &KeySource, section: &KeySection) -> String {
    let mut advice = Vec::new();
    if *source != section.source {
        advice.push(format!(
            "set key.source = \"{source}\" before the daemon is started again: the configuration names {}",
            section.source
        ));
    }
    // Who can put another file or socket there gets the keys of the next time.
    let path = source.path();
    let gap = path.and_then(|path| way::gap(&path, writers::own_user()));
    advice.extend(gap.map(|gap| gap.to_string()));
    advice.join("; ")
}

fn resealed(done: Resealed, advice: String) -> v1::ResealKeysResponse {
    v1::ResealKeysResponse {
        keys: done.keys.iter().map(KeyId::to_string).collect(),
        seal: done.seal,
        seal_key: done.seal_key,
        advice,
    }
}

/// Opens every row.
pub(super) fn verify(
    keyring: &Arc<KeyringCases>,
    shutdown: CancellationToken,
) -> Answers<v1::VerifyKeysResponse> {
    let (answers, receiver) = mpsc::channel(WAITING);
    let keyring = keyring.clone();
    tokio::spawn(async move {
        let walk = look_at_all(&keyring, &answers);
        let ended = tokio::select! {
            ended = walk => ended.transpose(),
            () = shutdown.cancelled() => {
                let message = "the daemon is going down: not all rows were looked at";
                Some(Err(status(Code::Unavailable, "shutting_down", message)))
            }
        };
        if let Some(ended) = ended {
            let _ = answers.send(ended).await;
        }
    });
    ReceiverStream::new(receiver)
}

/// Tells `answers` after each step what was found so far; `None` where nobody hears of it any more.
async fn look_at_all(
    keyring: &KeyringCases,
    answers: &mpsc::Sender<Result<v1::VerifyKeysResponse, Status>>,
) -> Result<Option<v1::VerifyKeysResponse>, Status> {
    let rows = keyring.inspection.rows().await.map_err(|error| store(&error))?;
    let (mut seen, mut next) = (RowsSeen::default(), Some(RowPlace::default()));
    let fault = keyring.inspection.fault().await.map_err(|error| store(&error))?;
    if let Some(fault) = fault {
        seen.note_unusable(fault.to_string());
    }
    while let Some(place) = next {
        let step = keyring
            .inspection
            .look(place)
            .await
            .map_err(|error| store(&error))?;
        seen.add(step.seen);
        next = step.next;
        if answers.send(Ok(verified(&seen, rows, false))).await.is_err() {
            return Ok(None);
        }
    }
    Ok(Some(verified(&seen, rows, true)))
}

fn verified(seen: &RowsSeen, rows: u64, ended: bool) -> v1::VerifyKeysResponse {
    v1::VerifyKeysResponse {
        rows_done: seen.rows,
        rows_total: rows,
        rows_unusable: seen.unusable_count,
        unusable: if ended { seen.unusable.clone() } else { Vec::new() },
        ended,
    }
}

fn misconfigured(message: &str) -> Status {
    status(Code::FailedPrecondition, "misconfigured", message)
}

fn refused(error: &KeyringError) -> Status {
    match error {
        KeyringError::Store(error) => store(error),
        KeyringError::Seal(SealError::Away { .. }) => status(
            Code::Unavailable,
            "seal_away",
            format!("{error}; nothing was changed"),
        ),
        KeyringError::CutOff => status(Code::Unavailable, "shutting_down", error.to_string()),
        KeyringError::Seal(_) | KeyringError::Altered(_) | KeyringError::NoMasterKey(_) => {
            misconfigured(&format!("{error}; nothing was changed"))
        }
    }
}
