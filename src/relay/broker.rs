//! The broker that is followed: what it says that the agent may see, by this machine's clock.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    answer::{Answer, NoAnswer},
    former_broker,
    skew::{BrokerClock, clock_of},
    state::State,
    upstream::Upstream,
};
use crate::agent_view::document::Document;

/// A broker, and what is known of its clock.
pub(crate) struct Broker {
    pub(crate) upstream: Upstream,
    pub(crate) clock: Arc<BrokerClock>,
}

impl Broker {
    /// What the agent may see now.
    pub(crate) async fn view(&self) -> Result<State, NoAnswer> {
        let asked = self.clock.now();
        let (mut view, showed) = match self.upstream.get("/v1/view").await {
            Ok(answer) => self.read(&answer)?,
            Err(no) if no.is_no_such_path() => former_broker::view(&self.upstream).await?,
            Err(no) => return Err(no),
        };
        let moved_by = showed.map_or_else(
            || self.clock.moved_by(),
            |showed| self.clock.showed(showed, asked),
        );
        view.move_ends(moved_by);
        Ok(State::new(view, asked))
    }

    /// The document, and what the broker's clock showed.
    fn read(&self, answer: &Answer) -> Result<(Document<'static>, Option<Timestamp>), NoAnswer> {
        let view = Document::read(&answer.body).map_err(|unusable| {
            let source = self.upstream.source();
            NoAnswer::Away(format!("{source} answers with {unusable}"))
        })?;
        let token = view.tokens().next();
        let showed = token.and_then(|token| clock_of(token.expires_at, token.expires_in));
        Ok((view, showed.or(answer.date)))
    }
}
