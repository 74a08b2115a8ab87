//! One conversation with a KMS plugin. Each step ends, and each answer is held to the protocol.

use std::{io, os::unix::fs::FileTypeExt, path::Path, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time::timeout};
use tonic::{
    Response, Status,
    transport::{Channel, Endpoint, Uri},
};
use zeroize::Zeroizing;

use crate::{
    entropy::{Entropy, SystemEntropy},
    proto::kms::{
        DecryptRequest, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
        key_management_service_client::KeyManagementServiceClient,
    },
    seal::error::Problem,
    text::scrub::scrub,
};

use super::rules::{check_encrypted, check_status};

/// For the connection and for each call, as the API server gives a plugin by default.
pub(super) const LIMIT: Duration = Duration::from_secs(3);
/// Bytes of an answer: twice what the protocol allows at most.
const MOST: usize = 64 * 1024;
const MOST_HEADERS: u32 = 16 * 1024;
/// The name that gRPC has for what is on a Unix socket. It is never resolved.
const ADDRESS: &str = "http://localhost";

/// A connection to a plugin.
pub(super) struct Plugin {
    client: KeyManagementServiceClient<Channel>,
    limit: Duration,
}

impl Plugin {
    /// Connects to a socket. Each step may take as long as `limit`.
    pub(super) async fn connect(socket: &Path, limit: Duration) -> Result<Self, Problem> {
        let stream = timeout(limit, UnixStream::connect(socket))
            .await
            .map_err(|_| late(limit))?
            .map_err(|error| unreachable(socket, &error))?;
        let mut stream = Some(TokioIo::new(stream));
        // A connection that is lost ends the conversation.
        let connector = tower::service_fn(move |_: Uri| {
            let stream = stream.take();
            std::future::ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
        });
        let endpoint = Endpoint::from_static(ADDRESS).http2_max_header_list_size(MOST_HEADERS);
        let connecting = endpoint.connect_with_connector(connector);
        let channel = timeout(limit, connecting)
            .await
            .map_err(|_| late(limit))?
            .map_err(|_| ended())?;
        let client = KeyManagementServiceClient::new(channel).max_decoding_message_size(MOST);
        Ok(Self { client, limit })
    }

    /// What a plugin says of itself that is healthy.
    pub(super) async fn status(&mut self) -> Result<StatusResponse, Problem> {
        let asked = self.client.status(StatusRequest {});
        let status = answered(self.limit, "Status", asked).await?;
        check_status(&status).map_err(Problem::Away)?;
        Ok(status)
    }

    pub(super) async fn encrypt(&mut self, plaintext: &[u8]) -> Result<EncryptResponse, Problem> {
        let asked = self.client.encrypt(EncryptRequest {
            plaintext: plaintext.to_vec(),
            uid: uid(),
        });
        let encrypted = answered(self.limit, "Encrypt", asked).await?;
        check_encrypted(&encrypted).map_err(Problem::Away)?;
        Ok(encrypted)
    }

    pub(super) async fn decrypt(
        &mut self,
        encrypted: &EncryptResponse,
    ) -> Result<Zeroizing<Vec<u8>>, Problem> {
        let asked = self.client.decrypt(DecryptRequest {
            ciphertext: encrypted.ciphertext.clone(),
            uid: uid(),
            key_id: encrypted.key_id.clone(),
            annotations: encrypted.annotations.clone(),
        });
        let decrypted = answered(self.limit, "Decrypt", asked).await?;
        Ok(Zeroizing::new(decrypted.plaintext))
    }
}

/// Names a request in the plugin's log.
fn uid() -> String {
    let entropy: &dyn Entropy = &SystemEntropy;
    entropy.token()
}

fn ended() -> Problem {
    Problem::Away(
        "the plugin ended the connection before it answered, or speaks no gRPC: look at its log".to_owned(),
    )
}

fn late(limit: Duration) -> Problem {
    Problem::Away(format!(
        "the plugin did not answer within {} s: look at its log, and start it again if it hangs",
        limit.as_secs_f32()
    ))
}

async fn answered<T>(
    limit: Duration,
    call: &str,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Problem> {
    match timeout(limit, answer).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) if std::error::Error::source(&status).is_some() => Err(ended()),
        Ok(Err(status)) => Err(Problem::Away(format!(
            "the plugin answers {call} with {:?}: {}",
            status.code(),
            scrub(status.message(), &[])
        ))),
        Err(_) => Err(late(limit)),
    }
}

fn unreachable(socket: &Path, error: &io::Error) -> Problem {
    let is_other = || {
        socket
            .metadata()
            .is_ok_and(|found| !found.file_type().is_socket())
    };
    Problem::Away(match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no such socket: start the plugin, and see that its socket is mounted here".to_owned()
        }
        io::ErrorKind::ConnectionRefused if is_other() => {
            "that is no socket: name the one that the plugin listens on".to_owned()
        }
        io::ErrorKind::ConnectionRefused => "no plugin listens on the socket: start it".to_owned(),
        io::ErrorKind::PermissionDenied => format!(
            "this process (uid {}) may not open the socket: let its user in, with the socket's group and mode",
            rustix::process::geteuid().as_raw()
        ),
        _ => format!("the socket cannot be opened: {error}"),
    })
}
