//! What a page is given of a request that passed the gate.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

use super::{form::Fields, refusal::Refusal};
use crate::session::Session;

/// A look at a page, by somebody who is signed in.
pub(super) struct Asked {
    pub(super) session: Session,
    pub(super) query: Fields,
}

/// A form that somebody sent who is signed in, from a page of that session.
pub(super) struct Sent {
    pub(super) session: Session,
    pub(super) form: Fields,
}

/// The name or the id in the address.
pub(super) struct Named(pub(super) String);

/// Who is signed in, if anybody is; the gate has put it there.
fn session(request: &Parts) -> Result<Session, Refusal> {
    let session = request.extensions.get::<Option<Session>>();
    session.cloned().flatten().ok_or(Refusal::NotFound)
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Refusal;

    async fn from_request_parts(request: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Ok(Self {
            session: session(request)?,
            query: Fields::of_query(&request.uri),
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Sent {
    type Rejection = Refusal;

    async fn from_request_parts(request: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Ok(Self {
            session: session(request)?,
            form: request.extensions.remove().ok_or(Refusal::NotFound)?,
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(request: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path = Path::<String>::from_request_parts(request, state).await;
        path.map(|Path(name)| Self(name)).map_err(|_| Refusal::NotFound)
    }
}
