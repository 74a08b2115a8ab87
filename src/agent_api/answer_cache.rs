//! A token as answers and streams carry it, kept for as long as it stays the same: for a second at most.
//!
//! Writing the JSON takes longer than all the rest that is ours of a request, and many connections of one agent
//! ask within one second. All streams of an agent are told a new token at once, so they share one copy of it.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use zeroize::Zeroizing;

use crate::{
    broker::{IssuedToken, TokenGrant},
    clock::Uptime,
    id::CapabilityKey,
};

/// How a token is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// JSON.
    Json,
    /// A server-sent event.
    Event,
    /// A gRPC message.
    Grpc,
}

/// One agent's last answer in each form. Reading it takes no lock.
#[derive(Default)]
pub(crate) struct AnswerCache([ArcSwapOption<Kept>; 3]);

struct Kept {
    /// Not a reference that counts: the cache keeps no token alive.
    token: Weak<IssuedToken>,
    capabilities: Arc<[CapabilityKey]>,
    expires_in: u64,
    body: Bytes,
}

impl AnswerCache {
    /// The answer that tells `grant` at `now`, written by `render` where it is not the last one of its form. What is kept
    /// is wiped when it is dropped.
    pub(crate) fn get(
        &self,
        form: Form,
        grant: &TokenGrant,
        now: Uptime,
        render: impl FnOnce() -> Zeroizing<Vec<u8>>,
    ) -> Bytes {
        let expires_in = grant.token.remaining(now).unwrap_or_default().as_secs();
        let last = &self.0[form as usize];
        if let Some(kept) = &*last.load()
            && kept.expires_in == expires_in
            && std::ptr::eq(kept.token.as_ptr(), Arc::as_ptr(&grant.token))
            && Arc::ptr_eq(&kept.capabilities, &grant.capabilities)
        {
            return kept.body.clone();
        }
        let body = Bytes::from_owner(render());
        last.store(Some(Arc::new(Kept {
            token: Arc::downgrade(&grant.token),
            capabilities: Arc::clone(&grant.capabilities),
            expires_in,
            body: body.clone(),
        })));
        body
    }

    /// Drops what is kept.
    pub(crate) fn forget(&self) {
        for last in &self.0 {
            last.store(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::testing::{at, token};

    fn grant(token: &Arc<IssuedToken>, capabilities: &Arc<[CapabilityKey]>) -> TokenGrant {
        TokenGrant {
            token: Arc::clone(token),
            capabilities: Arc::clone(capabilities),
        }
    }

    #[test]
    fn an_answer_is_kept_until_anything_in_it_changes() {
        let cache = AnswerCache::default();
        let rendered = Cell::new(0);
        let ask = |grant: &TokenGrant, now: &str| {
            let before = rendered.get();
            cache.get(Form::Json, grant, at(now).uptime, || {
                rendered.set(before + 1);
                Zeroizing::new(Vec::new())
            });
            rendered.get() > before
        };
        let (first, none): (_, Arc<[CapabilityKey]>) = (token("a"), Arc::new([]));
        let now = "2024-01-15T09:31:00Z";
        assert!(ask(&grant(&first, &none), now));
        assert!(!ask(&grant(&first, &none), now));
        assert!(ask(&grant(&first, &none), "2024-01-15T09:31:01Z"));
        assert!(ask(&grant(&first, &none), now));
        let some: Arc<[CapabilityKey]> = Arc::new(["google.gmail.send".parse().unwrap()]);
        assert!(ask(&grant(&first, &some), now));
        assert!(ask(&grant(&token("a"), &some), now));
        cache.forget();
        assert!(ask(&grant(&first, &none), now));
    }

    #[test]
    fn each_form_is_kept_by_itself() {
        let cache = AnswerCache::default();
        let (token, none): (_, Arc<[CapabilityKey]>) = (token("a"), Arc::new([]));
        let now = at("2024-01-15T09:31:00Z").uptime;
        let ask = |form, text: &str| {
            let render = || Zeroizing::new(text.as_bytes().to_vec());
            cache.get(form, &grant(&token, &none), now, render)
        };
        for (form, text) in [(Form::Json, "j"), (Form::Event, "e"), (Form::Grpc, "g")] {
            assert_eq!(ask(form, text), text);
            assert_eq!(ask(form, "another"), text);
        }
    }

    #[test]
    fn no_token_is_kept_alive() {
        let cache = AnswerCache::default();
        let (token, none): (_, Arc<[CapabilityKey]>) = (token("a"), Arc::new([]));
        let held = Arc::downgrade(&token);
        let render = || Zeroizing::new(Vec::new());
        cache.get(
            Form::Json,
            &grant(&token, &none),
            at("2024-01-15T09:31:00Z").uptime,
            render,
        );
        drop(token);
        assert!(held.upgrade().is_none());
    }
}
