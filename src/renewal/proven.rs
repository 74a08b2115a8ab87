//! Asks with grants that are bound to a key (RFC 9449): each request carries a proof of it, which says what time it is.

use crate::{
    dpop::{Possession, ProofKey},
    id::ProviderId,
    provider::{GrantFuture, NoToken, TokenAnswer},
    renewal::recovery::Recovery,
};

/// What a server answers that does not accept a proof. It has done nothing then.
const REFUSED: &str = "invalid_dpop_proof";

impl Recovery {
    /// What `ask` comes to with a proof of `key`, where there is one. A proof that was refused is made once more: by the
    /// clock of a provider that shows another time, and as another one, since a request that was sent on twice has used its
    /// proof up.
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
        let now = self.clock.provider_now(&run_by);
        let failure = match ask(Some(Possession { key, now })).await {
            Err(failure) if is_refused_proof(&failure) => failure,
            answer => return answer,
        };
        tracing::warn!(error = %failure.error, "the proof of a key is made once more");
        let heard = failure.error.server_time.as_ref();
        let now = heard
            .and_then(|heard| self.clock.corrected_by(&run_by, **heard))
            // What was heard before may have been any proxy's.
            .or_else(|| self.clock.if_differing(&run_by))
            .unwrap_or_else(|| self.clock.provider_now(&run_by));
        ask(Some(Possession { key, now })).await
    }
}

fn is_refused_proof(failure: &NoToken) -> bool {
    failure.refresh_token.is_none() && failure.error.oauth_error() == Some(REFUSED)
}
