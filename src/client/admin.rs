//! The daemon's admin socket, as a client sees it.

use std::{error::Error, io, os::unix::fs::MetadataExt, path::Path, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Uri},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

use super::{
    deadline::{Deadlines, FIRST_ANSWER, PING_AFTER, PING_TIMEOUT},
    exit::{Exit, Failure},
};
use crate::{proto::v1::admin_service_client::AdminServiceClient, text::ShowPath};

/// A connected client.
pub(crate) type Admin = AdminServiceClient<Deadlines>;

/// Connects to one socket, on which the daemon answers.
pub(crate) async fn open(socket: &Path) -> io::Result<Admin> {
    let opened = tokio::time::timeout(FIRST_ANSWER, greet(socket)).await;
    let channel = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    Ok(AdminServiceClient::new(Deadlines(channel)))
}

/// A connection is taken by the kernel, whether or not there is somebody who accepts it: so a first word is waited for.
async fn greet(socket: &Path) -> io::Result<Channel> {
    channel(dial(socket).await?, Endpoint::from_static(NO_ADDRESS)).await
}

/// The address of an endpoint whose connection stands already: it is never resolved.
pub(super) const NO_ADDRESS: &str = "http://token-broker";

/// A channel on a connection that stands, on which the daemon has said a first word.
pub(super) async fn channel(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    endpoint: Endpoint,
) -> io::Result<Channel> {
    let mut stream = Some(stream);
    // One connection for one command: when it is lost, the command ends and says so.
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.take().map(TokioIo::new);
        std::future::ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
    });
    let channel = endpoint
        .http2_keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIMEOUT)
        .connect_with_connector(connector)
        .await
        .map_err(|_| ended())?;
    let greeted = HealthClient::new(channel.clone())
        .check(HealthCheckRequest::default())
        .await;
    match greeted {
        // Whatever the daemon says of its health, it says something.
        Err(status) if status.source().is_some() => Err(ended()),
        _ => Ok(channel),
    }
}

/// The connection ended before there was an answer. How its layers put that helps nobody.
fn ended() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

/// Waits while so many connections wait to be accepted that the kernel takes no further one.
async fn dial(socket: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            connected => return connected,
        }
    }
}

/// Why the daemon cannot be reached, and what to do.
pub(crate) fn unreachable(socket: &Path, error: &io::Error) -> Failure {
    let path = socket.shown();
    let message = match error.kind() {
        io::ErrorKind::NotFound => format!(
            "the daemon is not running, or its start is not over (its log and `/readyz` say what it waits for): there is no \
             socket {path}. Start it with `token-broker serve`, or name its socket with --admin-socket (it is `admin.sock` in the \
             daemon's runtime_dir)"
        ),
        io::ErrorKind::ConnectionRefused => format!(
            "the daemon is not running: nobody answers on the socket {path}. Start it with `token-broker serve`"
        ),
        io::ErrorKind::PermissionDenied => not_allowed(socket),
        io::ErrorKind::TimedOut => format!(
            "the daemon does not answer: nothing came on the socket {path} within {} s. Look at its log, and start it \
             again if it hangs",
            FIRST_ANSWER.as_secs()
        ),
        io::ErrorKind::ConnectionAborted => format!(
            "the daemon ended the connection before it answered, on the socket {path}: it stops at the moment, or the socket \
             has as many connections as it may, or another program listens there. Look at its log, and try again"
        ),
        _ => format!("the daemon cannot be reached on the socket {path}: {error}"),
    };
    Failure::new(Exit::Unreachable, message)
}

/// Who keeps this user from a socket, and what to do. What is looked at is the socket, or the nearest folder above it that can
/// be.
fn not_allowed(socket: &Path) -> String {
    let mut above = socket.ancestors();
    let nearest = above.find_map(|path| Some((path, path.metadata().ok()?)));
    let owner = nearest.as_ref().map(|(_, metadata)| metadata.uid());
    let is_ours = owner == Some(rustix::process::geteuid().as_raw());
    match nearest {
        Some((folder, metadata)) if is_ours && metadata.is_dir() && metadata.mode() & 0o100 == 0 => {
            let (folder, mode) = (folder.shown(), metadata.mode() & 0o7777);
            format!("{folder} has mode {mode:04o}, which keeps its owner out: run `chmod 711 {folder}`")
        }
        _ => {
            let (path, owner) = (socket.shown(), owner.map(|uid| format!(" (uid {uid})")));
            let owner = owner.unwrap_or_default();
            format!("this user may not open the socket {path}: run the command as the daemon's user{owner}")
        }
    }
}

/// What the daemon's refusal means for the caller.
#[expect(clippy::needless_pass_by_value, reason = "fits `map_err`")]
pub(crate) fn refused(status: Status) -> Failure {
    if let Some(info) = status.get_details_error_info() {
        let exit = Exit::for_reason(&info.reason).unwrap_or_else(|| exit_for(status.code()));
        let url = info.metadata.get("action_url").cloned().unwrap_or_default();
        return Failure::new(exit, status.message())
            .with_reason(info.reason)
            .with_action_url(url);
    }
    if status.source().is_some() {
        return Failure::new(
            Exit::Unreachable,
            "the daemon went away before it answered: look at its log, and try again when it is back",
        );
    }
    let message = if status.message().is_empty() {
        format!("the daemon refused: {}", status.code().description())
    } else {
        status.message().to_owned()
    };
    let message = match status.code() {
        Code::Unimplemented => {
            format!("the running daemon does not know this command ({message}): is it older?")
        }
        _ => message,
    };
    Failure::new(exit_for(status.code()), message)
}

fn exit_for(code: Code) -> Exit {
    match code {
        Code::NotFound => Exit::NotFound,
        Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
        Code::Unavailable | Code::ResourceExhausted | Code::Aborted => Exit::TryLater,
        Code::DeadlineExceeded => Exit::TimedOut,
        _ => Exit::Failed,
    }
}

/// A part of an answer that the protocol always carries.
pub(crate) fn required<T>(part: Option<T>) -> Result<T, Failure> {
    part.ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            "the daemon's answer is incomplete: is it of another version than this command?",
        )
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tokio::io::AsyncReadExt;
    use tonic_types::ErrorDetails;

    use super::{super::testing::FakeAdmin, *};

    fn with_info(reason: &str, url: Option<&str>) -> Status {
        let metadata: HashMap<_, _> = url
            .map(|url| ("action_url".to_owned(), url.to_owned()))
            .into_iter()
            .collect();
        let details = ErrorDetails::with_error_info(reason, "token-broker", metadata);
        Status::with_error_details(Code::FailedPrecondition, "it did not work", details)
    }

    #[test]
    fn a_folder_that_keeps_its_owner_out_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, denied) = (
            dir.path().join("run"),
            io::Error::from(io::ErrorKind::PermissionDenied),
        );
        std::fs::create_dir(&folder).unwrap();
        let said = |mode| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(&folder, mode).unwrap();
            unreachable(&folder.join("admin.sock"), &denied).message
        };
        assert!(said(0).contains("run has mode 0000, which keeps its owner out: run `chmod 711 "));
        assert!(said(0o711).contains("run the command as the daemon's user"));
    }

    #[test]
    fn a_refusal_keeps_its_code_and_address() {
        let failure = refused(with_info("reconnect_required", Some("http://127.0.0.1:8420/fix")));
        assert_eq!(failure.exit, Exit::NeedsPerson);
        assert_eq!(failure.message, "it did not work");
        assert_eq!(failure.reason.as_deref(), Some("reconnect_required"));
        assert_eq!(failure.action_url.as_deref(), Some("http://127.0.0.1:8420/fix"));
        assert_eq!(refused(with_info("brand_new", None)).exit, Exit::Failed);
    }

    #[test]
    fn a_refusal_without_details_goes_by_its_status() {
        assert_eq!(refused(Status::not_found("no agent `x`")).exit, Exit::NotFound);
        assert_eq!(refused(Status::invalid_argument("no")).exit, Exit::Usage);
        assert!(refused(Status::unimplemented("")).message.contains("older"));
    }

    /// A listener that accepts nothing, as that of a daemon without descriptors, or of one that hangs.
    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_says_nothing_is_not_waited_for_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("admin.sock");
        let _silent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let error = open(&socket).await.err().unwrap();
        let failure = unreachable(&socket, &error);
        assert_eq!(failure.exit, Exit::Unreachable);
        assert!(failure.message.contains("does not answer"), "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_not_answered_ends() {
        let hanging = FakeAdmin {
            hangs: true,
            ..FakeAdmin::default()
        };
        let hanging = hanging.serve().await;
        let mut admin = open(&hanging.socket()).await.unwrap();
        let request = crate::proto::v1::GetDaemonStatusRequest {};
        let failure = refused(admin.get_daemon_status(request).await.unwrap_err());
        assert_eq!(failure.exit, Exit::Unreachable, "{failure}");
        assert!(failure.message.contains("did not answer"), "{failure}");
    }

    #[tokio::test]
    async fn a_connection_that_is_ended_before_an_answer_has_its_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("admin.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        // At once, and after the first word.
        for reads in [false, true] {
            let ending = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                if reads {
                    stream.read_exact(&mut [0; 8]).await.unwrap();
                }
            };
            let (opened, ()) = tokio::join!(open(&socket), ending);
            let failure = unreachable(&socket, &opened.err().unwrap());
            assert_eq!(failure.exit, Exit::Unreachable);
            let said = &failure.message;
            assert!(said.contains("ended the connection before it answered"), "{said}");
            assert!(!said.contains("tonic") && !said.contains("hyper"), "{said}");
        }
    }

    #[tokio::test]
    async fn each_way_of_being_away_has_its_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("admin.sock");
        let error = open(&missing).await.err().unwrap();
        assert!(
            unreachable(&missing, &error)
                .message
                .contains("there is no socket")
        );

        // A socket whose listener is gone.
        drop(std::os::unix::net::UnixListener::bind(&missing).unwrap());
        let error = open(&missing).await.err().unwrap();
        let failure = unreachable(&missing, &error);
        assert!(failure.message.contains("nobody answers"), "{failure}");
        assert_eq!(failure.exit, Exit::Unreachable);

        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let uid = dir.path().metadata().unwrap().uid();
        assert!(
            unreachable(&missing, &denied)
                .message
                .contains(&format!("(uid {uid})"))
        );
    }
}
