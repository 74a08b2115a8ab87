//! How long a command waits for the daemon.

use std::{
    collections::HashMap,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tonic::{Code, Status, body::Body, transport::Channel};
use tonic_types::{ErrorDetails, StatusExt};
use tower::{BoxError, Service};

/// Until the daemon has taken the connection and said a first word.
pub(crate) const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// Until it has answered a call. What it asks the provider for meanwhile takes less.
const ANSWER: Duration = Duration::from_secs(120);
/// A daemon that is gone without a word is found out after these two, however long a call may take.
pub(crate) const PING_AFTER: Duration = Duration::from_secs(10);
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// The reason in the failure of a call that was not answered in time.
pub(crate) const UNANSWERED: &str = "unanswered";

/// Calls that take as long as they take: a person is waited for, or all of the trail or of the database is read.
const WITHOUT_END: [&str; 3] = ["/WaitConnect", "/VerifyAudit", "/BackupDatabase"];

/// The way to the daemon, on which each call ends.
#[derive(Clone)]
pub(crate) struct Deadlines(pub(crate) Channel);

impl Service<Request<Body>> for Deadlines {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let has_end = !WITHOUT_END.iter().any(|method| path.ends_with(method));
        let answer = self.0.call(request);
        Box::pin(async move {
            if !has_end {
                return Ok(answer.await?);
            }
            match tokio::time::timeout(ANSWER, answer).await {
                Ok(answer) => Ok(answer?),
                Err(_) => Err(unanswered().into()),
            }
        })
    }
}

fn unanswered() -> Status {
    let message = format!(
        "the daemon did not answer within {} s; whether it did what was asked is not known: look at its log",
        ANSWER.as_secs()
    );
    let details = ErrorDetails::with_error_info(UNANSWERED, "token-broker", HashMap::new());
    Status::with_error_details(Code::DeadlineExceeded, message, details)
}
