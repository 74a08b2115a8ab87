//! A request that cannot be followed.

use axum::response::IntoResponse;
use http::StatusCode;

use super::notice::Notice;
use crate::{session::Session, web::answer::Answer};

/// What is answered to a request that cannot be followed.
#[derive(Clone)]
pub(super) enum Refusal {
    /// There is no such thing, or it is somebody else's.
    NotFound,
    /// Something is wrong, in words.
    Notice(StatusCode, Box<Notice>),
}

impl From<Notice> for Refusal {
    fn from(notice: Notice) -> Self {
        Self::Notice(StatusCode::BAD_REQUEST, Box::new(notice))
    }
}

impl Refusal {
    /// The page that says so.
    pub(super) fn show(self, prefix: &str, session: Option<&Session>) -> Answer {
        match self {
            Self::NotFound => Notice::new("There is no such page")
                .says("The address is wrong, or what it showed is gone.")
                .show(StatusCode::NOT_FOUND, prefix, session),
            Self::Notice(status, notice) => notice.show(status, prefix, session),
        }
    }
}

/// What a page returns; it is shown by the gate, which knows for whom.
impl IntoResponse for Refusal {
    fn into_response(self) -> Answer {
        let mut answer = Answer::default();
        *answer.status_mut() = StatusCode::NOT_FOUND;
        answer.extensions_mut().insert(self);
        answer
    }
}
