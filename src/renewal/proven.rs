//! Asks with grants that are bound to a key (RFC 9449): each request carries a proof of it, which says what time it is.

use crate::{
    clock::Moment,
    dpop::{Possession, ProofKey},
    id::ProviderId,
    provider::{GrantFuture, NoToken, TokenAnswer},
    renewal::recovery::Recovery,
};

/// What a server answers that does not accept a proof. It has done nothing then.
const REFUSED: &str = "invalid_dpop_proof";

impl Recovery {
    /// What `ask` comes to with a proof of `key`, where there is one. A proof that was refused is made anew: by the other
    /// times that it may be there, and as another one, since a request that was sent on twice has used its proof up.
    pub(crate) async fn proven<'a>(
        &self,
        provider: &ProviderId,
        key: Option<&'a ProofKey>,
        ask: impl Fn(Option<Possession<'a>>) -> GrantFuture<'a>,
    ) -> Result<TokenAnswer, NoToken> {
        let Some(key) = key else {
            return ask(None).await;
        };
        let run_by = self.context.providers.name_of(provider);
        let believed = self.clock.believed(&run_by);
        let at = |time: Moment| {
            let now = time.wall_at(self.clock.uptime());
            ask(Some(Possession { key, now }))
        };
        let mut failure = match at(believed).await {
            Err(failure) if is_refused_proof(&failure) => failure,
            answer => return answer,
        };
        let heard = failure.error.server_time.as_ref().map(|heard| **heard);
        let mut times = self.clock.other_times(&run_by, heard, believed);
        if times.len() < 2 {
            times.push(believed);
        }
        for time in times {
            tracing::warn!(error = %failure.error, "the proof of a key is made once more");
            failure = match at(time).await {
                Err(failure) if is_refused_proof(&failure) => failure,
                answer => return answer,
            };
        }
        Err(failure)
    }
}

fn is_refused_proof(failure: &NoToken) -> bool {
    failure.refresh_token.is_none() && failure.error.oauth_error() == Some(REFUSED)
}
