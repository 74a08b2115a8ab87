//! One answer that the provider is busy does not end what somebody has just agreed to: it is asked once more.

use std::time::Duration;

use crate::{
    provider::{NoToken, ProviderError},
    renewal::{backoff, recovery::Recovery},
};

/// A provider that asks for a longer pause is not waited for: somebody sits before a browser.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How a request to the provider ends instead of well.
pub(crate) trait Failed {
    /// The error, where nothing came with it that is worth keeping.
    fn error(&self) -> Option<&ProviderError>;
}

impl Failed for ProviderError {
    fn error(&self) -> Option<&ProviderError> {
        Some(self)
    }
}

impl Failed for NoToken {
    fn error(&self) -> Option<&ProviderError> {
        self.refresh_token.is_none().then_some(&self.error)
    }
}

impl Recovery {
    /// What `ask` comes to. Where the provider says that it did nothing for want of time, which spends no code, it is asked
    /// once more after a moment.
    pub(crate) async fn once_more<T, E, F>(&self, ask: impl Fn() -> F) -> Result<T, E>
    where
        E: Failed,
        F: Future<Output = Result<T, E>>,
    {
        let first = ask().await;
        let busy = first.as_ref().err().and_then(Failed::error);
        let Some(error) = busy.filter(|error| is_worth_a_try(error)) else {
            return first;
        };
        tracing::warn!(%error, "asking once more in a moment");
        let pause = backoff::delay(&*self.entropy, 1, error.retry_after);
        self.clock.sleep_until(self.clock.uptime().after(pause)).await;
        ask().await
    }
}

/// Whether a failure may have passed in a moment, and left everything as it was.
pub(crate) fn is_worth_a_try(error: &ProviderError) -> bool {
    error.is_too_busy() && error.retry_after.is_none_or(|pause| pause <= LONGEST_PAUSE)
}
