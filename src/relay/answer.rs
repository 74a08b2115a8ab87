//! A question to the broker whose answer is wanted whole.

use http::{Response, StatusCode, header};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::upstream::Upstream;
use crate::http_client::http_date;

/// What the broker says.
pub(crate) struct Answer {
    pub(crate) body: Zeroizing<Vec<u8>>,
    /// What its clock shows. A proxy on the way may have put its own in the place of the broker's.
    pub(crate) date: Option<Timestamp>,
}

/// Why there is no answer.
pub(crate) enum NoAnswer {
    /// Nobody answers, or not so that it can be read; a sentence says it.
    Away(String),
    /// The broker refuses.
    Refused(Box<Response<Zeroizing<Vec<u8>>>>),
}

/// Problem details as the broker writes them (RFC 9457).
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct ProblemDetails {
    pub(crate) code: String,
    pub(crate) detail: String,
}

impl ProblemDetails {
    /// What a refusal says; nothing where it is none of the broker's.
    pub(crate) fn of(refusal: &Response<Zeroizing<Vec<u8>>>) -> Self {
        serde_json::from_slice(refusal.body()).unwrap_or_default()
    }
}

impl NoAnswer {
    /// True where the broker has nothing at the path.
    pub(crate) fn is_no_such_path(&self) -> bool {
        match self {
            Self::Away(_) => false,
            // An agent that is not there is 404 as well.
            Self::Refused(refusal) => {
                refusal.status() == StatusCode::NOT_FOUND && ProblemDetails::of(refusal).code == "not_found"
            }
        }
    }

    /// True where the broker does not know what the query asks for.
    pub(crate) fn is_no_such_query(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status() == StatusCode::BAD_REQUEST)
    }
}

impl Upstream {
    /// `GET path`.
    pub(crate) async fn get(&self, path: &'static str) -> Result<Answer, NoAnswer> {
        let response = self.accepted(self.open(path).await).await?;
        let date = response.headers().get(header::DATE).and_then(http_date);
        let body = self.read(response).await.map_err(NoAnswer::Away)?;
        Ok(Answer { body, date })
    }

    /// An answer that is no refusal.
    pub(crate) async fn accepted(
        &self,
        answered: Result<Response<Incoming>, String>,
    ) -> Result<Response<Incoming>, NoAnswer> {
        let response = answered.map_err(NoAnswer::Away)?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = self.read(Response::new(body)).await.unwrap_or_default();
        Err(NoAnswer::Refused(Box::new(Response::from_parts(head, body))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_broker_that_has_no_such_path_is_asked_in_another_way() {
        let refused = |status: u16, code: &str| {
            let body = format!(r#"{{"status":{status},"code":"{code}","detail":"It is so."}}"#);
            let mut refusal = Response::new(Zeroizing::new(body.into_bytes()));
            *refusal.status_mut() = StatusCode::from_u16(status).unwrap();
            NoAnswer::Refused(Box::new(refusal))
        };
        assert!(refused(404, "not_found").is_no_such_path());
        for (status, code) in [
            (404, "unknown_agent"),
            (404, ""),
            (403, "not_found"),
            (401, "unauthenticated"),
            (410, "agent_removed"),
        ] {
            assert!(!refused(status, code).is_no_such_path(), "{status} {code}");
        }
        assert!(!NoAnswer::Away("Nobody answers.".to_owned()).is_no_such_path());
    }
}
