//! The broker's answers with the ends of tokens by this machine's clock, and nothing else changed.

use bytes::{Buf, Bytes};
use http::{Method, Request};
use jiff::{SignedDuration, Timestamp};
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::skew::{BrokerClock, clock_of};
use crate::{
    agent_api::service::is_grpc,
    clock::{self, Moment},
    proto,
};

/// Far more than any message about one agent.
const MOST_BYTES: usize = 1024 * 1024;
/// What is before each message of gRPC: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// What ends an event.
const END_OF_EVENT: &[u8] = b"\n\n";
/// The field of an answer, and of a stream's message, that is a token.
const TOKEN: u32 = 1;
/// The field of a token that says when it ends.
const EXPIRES_AT: u32 = 3;

/// An answer that tells when tokens end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retelling {
    /// `/v1/token`, which is whole at once.
    Token,
    /// `/v1/watch`.
    Events,
    /// A call of gRPC, or a stream of it.
    Messages,
}

impl Retelling {
    /// What there is to retell of the answer to this request.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        let path = request.uri().path();
        if is_grpc(request) {
            let is_told = ["/GetAccessToken", "/WatchAccessToken"];
            return (is_told.iter().any(|method| path.ends_with(method))).then_some(Self::Messages);
        }
        match path {
            _ if request.method() != Method::GET => None,
            "/v1/token" => Some(Self::Token),
            "/v1/watch" => Some(Self::Events),
            _ => None,
        }
    }

    /// What comes of a stream that goes on: each part of it, when it is there to its end.
    pub(crate) fn parts(
        self,
        moved_by: impl Fn() -> SignedDuration + Send + 'static,
    ) -> impl FnMut(Bytes) -> Bytes + Send + 'static {
        let mut waiting = Zeroizing::new(Vec::new());
        move |came| {
            // Growing would leave a copy of a token behind.
            let mut all = Zeroizing::new(Vec::with_capacity(waiting.len() + came.len()));
            all.extend_from_slice(&waiting);
            all.extend_from_slice(&came);
            let end = match self {
                Self::Messages => end_of_messages(&all),
                _ => end_of_events(&all),
            };
            // No part is as long as this: what it is, somebody else may know.
            let end = if all.len() - end > MOST_BYTES {
                all.len()
            } else {
                end
            };
            waiting = Zeroizing::new(all[end..].to_vec());
            let moved_by = moved_by();
            if moved_by.is_zero() {
                return Bytes::from_owner(all).slice(..end);
            }
            if self == Self::Messages {
                return Bytes::from_owner(messages(&all[..end], moved_by));
            }
            events(&mut all[..end], moved_by);
            Bytes::from_owner(all).slice(..end)
        }
    }
}

/// An answer of `/v1/token` to what was asked then.
pub(crate) fn token(mut body: Zeroizing<Vec<u8>>, broker: &BrokerClock, asked: Moment) -> Bytes {
    #[derive(Deserialize)]
    struct Told {
        expires_at: Timestamp,
        expires_in: u64,
    }
    let told: Option<Told> = serde_json::from_slice(&body).ok();
    let showed = told.and_then(|told| clock_of(told.expires_at, told.expires_in));
    let moved_by = showed.map_or_else(|| broker.moved_by(), |showed| broker.showed(showed, asked));
    json(&mut body, moved_by);
    Bytes::from_owner(body)
}

/// Moves the end of a token that JSON tells. Every byte else stays, and so does the length.
fn json(text: &mut [u8], by: SignedDuration) {
    #[derive(Deserialize)]
    struct Told<'a> {
        expires_at: &'a str,
    }
    let moved = |time: &str| {
        Some(clock::rfc3339(
            time.parse::<Timestamp>().ok()?.checked_add(by).ok()?,
        ))
    };
    let Ok(Told { expires_at }) = serde_json::from_slice(text) else {
        return;
    };
    // It borrows from the text, so its place there is known.
    let place = expires_at.as_ptr().addr() - text.as_ptr().addr();
    let place = place..place + expires_at.len();
    if let Some(new) = moved(expires_at).filter(|new| new.len() == place.len()) {
        text[place].copy_from_slice(new.as_bytes());
    }
}

/// The same of each event's data.
fn events(text: &mut [u8], by: SignedDuration) {
    const DATA: &[u8] = b"data: ";
    for line in text.split_mut(|byte| *byte == b'\n') {
        if line.starts_with(DATA) {
            json(&mut line[DATA.len()..], by);
        }
    }
}

/// Where the last event that is there to its end ends.
fn end_of_events(text: &[u8]) -> usize {
    let last = text
        .windows(END_OF_EVENT.len())
        .rposition(|window| window == END_OF_EVENT);
    last.map_or(0, |at| at + END_OF_EVENT.len())
}

/// The length of the message at the beginning, its prefix included, where it is there to its end.
fn message_length(bytes: &[u8]) -> Option<usize> {
    let length = bytes
        .get(1..PREFIX_BYTES)?
        .try_into()
        .ok()
        .map(u32::from_be_bytes)?;
    let whole = usize::try_from(length).ok()?.checked_add(PREFIX_BYTES)?;
    (whole <= bytes.len()).then_some(whole)
}

fn end_of_messages(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(length) = message_length(&bytes[end..]) {
        end += length;
    }
    end
}

/// Whole messages, with the ends of their tokens moved. What is compressed or is no token stays as it is.
fn messages(mut bytes: &[u8], by: SignedDuration) -> Zeroizing<Vec<u8>> {
    // Each may grow by the digits of another time; growing would leave a copy of a token behind.
    let mut told = Zeroizing::new(Vec::with_capacity(bytes.len() * 2 + 64));
    while let Some(length) = message_length(bytes) {
        let (message, rest) = bytes.split_at(length);
        let new = (message[0] == 0).then(|| message_moved(&message[PREFIX_BYTES..], by));
        match new.flatten() {
            Some(new) => {
                told.push(0);
                told.extend_from_slice(&u32::try_from(new.len()).unwrap_or(u32::MAX).to_be_bytes());
                told.extend_from_slice(&new);
            }
            None => told.extend_from_slice(message),
        }
        bytes = rest;
    }
    told.extend_from_slice(bytes);
    told
}

/// A message with a token: fields that this version does not know stay.
fn message_moved(message: &[u8], by: SignedDuration) -> Option<Zeroizing<Vec<u8>>> {
    with_field(message, TOKEN, |token| {
        with_field(token, EXPIRES_AT, |end| {
            let end = prost_types::Timestamp::decode(end).ok()?;
            let end = Timestamp::new(end.seconds, end.nanos)
                .ok()?
                .checked_add(by)
                .ok()?;
            Some(Zeroizing::new(proto::timestamp(end).encode_to_vec()))
        })
    })
}

/// The message with another content of one of its fields; `None` where it has none, or is no message.
fn with_field(
    message: &[u8],
    number: u32,
    mut change: impl FnMut(&[u8]) -> Option<Zeroizing<Vec<u8>>>,
) -> Option<Zeroizing<Vec<u8>>> {
    let mut rest = message;
    let mut new = Zeroizing::new(Vec::with_capacity(message.len() + 32));
    let mut is_changed = false;
    while rest.has_remaining() {
        let before = rest;
        let (found, kind) = decode_key(&mut rest).ok()?;
        if found == number && kind == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
            let content = change(rest.get(..length)?)?;
            rest.advance(length);
            encode_key(number, kind, &mut *new);
            encode_varint(u64::try_from(content.len()).ok()?, &mut *new);
            new.extend_from_slice(&content);
            is_changed = true;
        } else {
            skip_field(kind, found, &mut rest, DecodeContext::default()).ok()?;
            new.extend_from_slice(&before[..before.len() - rest.len()]);
        }
    }
    is_changed.then_some(new)
}

#[cfg(test)]
mod tests;
