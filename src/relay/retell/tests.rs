use std::{path::PathBuf, sync::Arc};

use bytes::BufMut;

use super::*;
use crate::{
    clock::ManualClock,
    proto::v1::{AccessToken, AgentStatus, WatchAccessTokenResponse, watch_access_token_response::Event},
    relay::Source,
};

/// A broker whose clock is 90 minutes behind this machine's, which shows noon.
fn broker() -> Arc<BrokerClock> {
    let clock = ManualClock::new("2030-01-01T12:00:00Z".parse().unwrap());
    let broker = BrokerClock::new(Source::Socket(PathBuf::from("/x")), Arc::new(clock));
    let showed = clock_of("2030-01-01T11:25:00Z".parse().unwrap(), 3300).unwrap();
    broker.showed(showed, broker.now());
    Arc::new(broker)
}

fn message(event: Event) -> Vec<u8> {
    let message = WatchAccessTokenResponse { event: Some(event) }.encode_to_vec();
    let mut framed = vec![0];
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.extend_from_slice(&message);
    framed
}

fn token(end: &str) -> AccessToken {
    AccessToken {
        access_token: "ya29.a".to_owned(),
        expires_at: Some(proto::timestamp(end.parse().unwrap())),
        expires_in: 3300,
        token_type: String::new(),
        scope: String::new(),
        capabilities: Vec::new(),
    }
}

/// Whatever pieces it comes in.
fn in_pieces(retelling: Retelling, bytes: &[u8]) -> Vec<u8> {
    let mut told = None;
    for size in [1, 7, bytes.len()] {
        let broker = broker();
        let mut parts = retelling.parts(move || broker.moved_by());
        let pieces = bytes
            .chunks(size)
            .map(|piece| parts(Bytes::copy_from_slice(piece)));
        let all: Vec<u8> = pieces.flat_map(|piece| piece.to_vec()).collect();
        assert_eq!(*told.get_or_insert_with(|| all.clone()), all, "pieces of {size}");
    }
    told.unwrap()
}

#[test]
fn whole_answers_say_when_tokens_end_by_this_machines_clock() {
    let whole = |text: &str| {
        let broker = broker();
        let told = super::token(Zeroizing::new(text.into()), &broker, broker.now());
        String::from_utf8(told.to_vec()).unwrap()
    };
    let json = r#"{"access_token":"t","expires_at":"2030-01-01T11:25:00Z","expires_in":3300,"new":{"x":"expires_at"}}"#;
    assert_eq!(whole(json), json.replace("11:25", "12:55"));
    // The answer's own word on the clock goes before what was known.
    let set = json.replace("11:25", "12:55").replace(":\"2030", " : \"2030");
    assert_eq!(whole(&set), set);
    assert_eq!(whole("no JSON \"expires_at\":"), "no JSON \"expires_at\":");
}

#[test]
fn streams_say_so_too_in_whatever_pieces_they_come() {
    let events =
        "event: token\ndata: {\"expires_at\":\"2030-01-01T11:25:00Z\",\"expires_in\":3300}\n\n: alive\n\n";
    assert_eq!(
        in_pieces(Retelling::Events, events.as_bytes()),
        events.replace("11:25", "12:55").into_bytes()
    );
    let status = message(Event::Status(AgentStatus {
        agent: "bot".to_owned(),
        ..AgentStatus::default()
    }));
    let stream = |end: &str| [status.clone(), message(Event::Token(token(end))), status.clone()].concat();
    assert_eq!(
        in_pieces(Retelling::Messages, &stream("2030-01-01T11:25:00.5Z")),
        stream("2030-01-01T12:55:00.5Z")
    );
}

#[test]
fn what_this_version_does_not_know_stays() {
    let mut unknown = token("2030-01-01T11:25:00Z").encode_to_vec();
    encode_key(77, WireType::Varint, &mut unknown);
    encode_varint(5, &mut unknown);
    let mut message = Vec::new();
    encode_key(TOKEN, WireType::LengthDelimited, &mut message);
    encode_varint(unknown.len() as u64, &mut message);
    message.extend_from_slice(&unknown);
    let told = message_moved(&message, SignedDuration::from_mins(90)).unwrap();
    assert_eq!(told.len(), message.len());
    assert!(told.ends_with(&unknown[unknown.len() - 3..]));
    assert!(message_moved(b"no message", SignedDuration::from_mins(90)).is_none());
}
