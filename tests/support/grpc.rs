//! Blocking gRPC clients over Unix sockets.

use std::path::Path;

use hyper_util::rt::TokioIo;
use token_broker::proto::v1::{
    AccessToken, GetAccessTokenRequest, WatchAccessTokenRequest, WatchAccessTokenResponse,
    admin_service_client::AdminServiceClient, token_service_client::TokenServiceClient,
};
use tokio::net::UnixStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint, Uri},
};
use tonic_types::StatusExt;

use super::block_on;

/// An agent's `TokenService`.
pub(crate) struct Tokens(pub(crate) TokenServiceClient<Channel>);

impl Tokens {
    pub(crate) fn connect(socket: &Path) -> Self {
        Self(TokenServiceClient::new(channel(socket)))
    }

    /// `GetAccessToken` with nothing asked in particular.
    pub(crate) fn token(&mut self) -> Result<AccessToken, Status> {
        let answer = block_on(self.0.get_access_token(GetAccessTokenRequest::default()))?;
        Ok(answer.into_inner().token.unwrap())
    }

    /// `GetAccessToken` for an agent whose token an API refused.
    pub(crate) fn refreshed_token(&mut self) -> Result<AccessToken, Status> {
        let request = GetAccessTokenRequest {
            force_refresh: true,
            ..GetAccessTokenRequest::default()
        };
        Ok(block_on(self.0.get_access_token(request))?
            .into_inner()
            .token
            .unwrap())
    }

    /// `WatchAccessToken`.
    pub(crate) fn watch(&mut self) -> Streaming<WatchAccessTokenResponse> {
        let answer = block_on(self.0.watch_access_token(WatchAccessTokenRequest::default()));
        answer.unwrap().into_inner()
    }
}

/// The daemon's `AdminService`; its methods are called through [`block_on`].
pub(crate) type Admin = AdminServiceClient<Channel>;

/// A client of `admin.sock`.
pub(crate) fn admin(socket: &Path) -> Admin {
    AdminServiceClient::new(channel(socket))
}

/// The code and the action URL of a refusal's `google.rpc.ErrorInfo`.
pub(crate) fn reason(status: &Status) -> (String, Option<String>) {
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(info.domain, "token-broker");
    (info.reason, info.metadata.get("action_url").cloned())
}

/// A connection to any gRPC service on a Unix socket.
pub(crate) fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    block_on(Endpoint::from_static("http://broker").connect_with_connector(connector)).unwrap()
}
