//! What an OAuth client is told.

use std::sync::Arc;

use url::Url;

use super::{dialect::Dialect, endpoints::Endpoints};
use crate::{
    http_client::{Egress, Limits},
    secret::ClientSecret,
};

/// What a client is told. No `Debug`: it holds the client's secret.
#[derive(Clone)]
pub struct ClientOptions {
    /// The client's id.
    pub client_id: String,
    /// The client's secret, where it has one.
    pub client_secret: Option<ClientSecret>,
    /// Where consents come back to, exactly as it is registered.
    pub redirect_uri: Url,
    /// Where the server is.
    pub endpoints: Endpoints,
    /// How it wants to be asked.
    pub dialect: Arc<Dialect>,
    /// What a request may take.
    pub limits: Limits,
    /// How it is reached.
    pub egress: Egress,
}
