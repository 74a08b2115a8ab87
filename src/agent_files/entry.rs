//! What an agent's directory holds, and who may read it.

use std::ffi::CStr;

use rustix::fs::Mode;

/// Who may read what an agent's directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Owner {
    /// The owner of the files; the daemon's own user when absent.
    pub(crate) uid: Option<u32>,
    /// The group that may read as well.
    pub(crate) gid: Option<u32>,
}

impl Owner {
    pub(super) fn dir_mode(self) -> Mode {
        Mode::from_bits_truncate(if self.gid.is_some() { 0o750 } else { 0o755 })
    }

    pub(super) fn file_mode(self) -> Mode {
        Mode::from_bits_truncate(if self.gid.is_some() { 0o440 } else { 0o400 })
    }

    /// The mode of the socket.
    pub(crate) fn socket_mode(self) -> Mode {
        Mode::from_bits_truncate(if self.gid.is_some() { 0o660 } else { 0o600 })
    }
}

/// What an agent's directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The dotenv file.
    Env,
    /// The bare token.
    AccessToken,
    /// The credential file for Google's libraries.
    Credentials,
    /// The one for those that know no other than workload identity federation.
    ExternalCredentials,
    /// The state.
    Status,
    /// The socket.
    Socket,
}

impl Entry {
    /// The name that agents know.
    pub(crate) fn name(self) -> &'static CStr {
        match self {
            Self::Env => c"env",
            Self::AccessToken => c"access_token",
            Self::Credentials => c"adc.json",
            Self::ExternalCredentials => c"adc-external.json",
            Self::Status => c"status.json",
            Self::Socket => c"broker.sock",
        }
    }

    /// Where its successor is made. A name that never varies, so that what a crash leaves there is replaced
    /// by the next write.
    pub(crate) fn temporary(self) -> &'static CStr {
        match self {
            Self::Env => c".env.new",
            Self::AccessToken => c".access_token.new",
            Self::Credentials => c".adc.json.new",
            Self::ExternalCredentials => c".adc-external.json.new",
            Self::Status => c".status.json.new",
            Self::Socket => c".broker.sock.new",
        }
    }

    pub(crate) const ALL: [Self; 6] = [
        Self::Env,
        Self::AccessToken,
        Self::Credentials,
        Self::ExternalCredentials,
        Self::Status,
        Self::Socket,
    ];
}
