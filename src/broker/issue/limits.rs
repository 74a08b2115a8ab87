//! What keeps one agent from costing the provider and the others too much.

use std::time::Duration;

use crate::{
    clock::Uptime,
    registry::{
        problem::{Problem, ProblemCause, ProblemCode},
        snapshot::IssuedToken,
    },
};

/// A token is not renewed on demand more often than this.
pub(in crate::broker) const LEAST_AGE: Duration = Duration::from_secs(10);

/// The provider does not make tokens that live as long as was asked for.
pub(in crate::broker) fn too_much(token: &IssuedToken, min_ttl: Duration) -> Result<(), Problem> {
    if min_ttl <= token.lifetime() {
        return Ok(());
    }
    Err(cannot_be_met(token, min_ttl))
}

pub(in crate::broker) fn cannot_be_met(token: &IssuedToken, min_ttl: Duration) -> Problem {
    let message = format!(
        "min_ttl={} cannot be met: the provider's tokens live {} s, counted from before they were asked for. Ask \
         for less.",
        min_ttl.as_secs(),
        token.lifetime().as_secs()
    );
    Problem::new(ProblemCode::InvalidRequest, ProblemCause::Request, message)
}

/// A token that is new already is not renewed again for the sake of a few seconds.
pub(in crate::broker) fn too_soon(
    token: &IssuedToken,
    min_ttl: Duration,
    now: Uptime,
) -> Result<(), Problem> {
    let age = now.since(token.issued_at);
    if !token.is_fresh(now) || age >= LEAST_AGE {
        return Ok(());
    }
    let wait = LEAST_AGE.saturating_sub(age);
    Err(Problem {
        code: ProblemCode::RateLimited,
        cause: ProblemCause::Request,
        message: format!(
            "The token is {} s old and was renewed for min_ttl already; min_ttl={} would renew it on every call.",
            age.as_secs(),
            min_ttl.as_secs()
        ),
        action_url: None,
        retry_after: Some(wait),
    })
}
