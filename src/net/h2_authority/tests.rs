//! What becomes of frames that name a socket by its path.

use super::*;

/// A frame on stream 1.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let header = [length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
    [&header, payload].concat()
}

/// `:method: POST`, an authority that begins with `name`, and a field with a name of its own that looks like
/// another one inside.
fn block(name: &[u8], value: &str) -> Vec<u8> {
    let mut block = [&[0x83], name].concat();
    match u8::try_from(value.len()) {
        Ok(length) if length < 127 => block.push(length),
        _ => block.extend([127, u8::try_from(value.len() - 127).unwrap()]),
    }
    block.extend(value.as_bytes());
    block.extend(b"\x40\x03x-y\x05\x41\x03a%b");
    block
}

/// What comes out when `frames` come in pieces of `size`.
fn passed(frames: &[Vec<u8>], size: usize) -> Vec<u8> {
    let mut bytes = [PREFACE, &frames.concat()].concat();
    let mut state = Frames::Preface { seen: 0 };
    for piece in bytes.chunks_mut(size) {
        state.pass(piece);
    }
    bytes.split_off(PREFACE.len())
}

#[test]
fn a_path_becomes_a_name_of_the_same_length() {
    let long = format!("tmp%2F{}", "a".repeat(200));
    for (path, name) in [
        (
            "run%2Ftoken-broker%2Fbroker.sock",
            "run-2Ftoken-broker-2Fbroker.sock",
        ),
        ("/run/broker.sock", "-run-broker.sock"),
        ("localhost:50051", "localhost:50051"),
        ("[::1]:1", "[::1]:1"),
        ("é", "--"),
        ("", ""),
        (&long, &long.replace('%', "-")),
    ] {
        // Into the table, not into it, never into any; with its name spelled out.
        for first in [b"\x41".as_slice(), b"\x01", b"\x11", b"\x40\x0a:authority"] {
            for size in [1, 2, 3, 5, 7, 64, 4096] {
                let out = passed(&[frame(HEADERS, 4, &block(first, path))], size);
                assert_eq!(
                    out,
                    frame(HEADERS, 4, &block(first, name)),
                    "{path} {first:?} {size}"
                );
            }
        }
    }
}

/// Both are what golang.org/x/net/http2/hpack makes of the text behind them.
#[test]
fn a_path_in_huffman_code_becomes_a_name_of_the_same_length() {
    let cases: [(&[u8], &[u8]); 5] = [
        (
            b"\x54\x58\x68\x34\x6a\x8b\x0d\x85\x99\x74\x1c\x9d\x7f", // %2Flib%2Freg.sock
            b"\x5c\x58\x68\x34\x6b\x8b\x0d\x85\x99\x74\x1c\x9d\x7f", // .2Flib.2Freg.sock
        ),
        (
            b"\x63\xb8\xec\x60\x6a\x46\xc7\x95\xd0\x72\x75", // /var/a b/x.sock
            b"\x67\xb8\xec\x64\x6b\x46\xcf\x95\xd0\x72\x75", // 3var3a-b3x.sock
        ),
        (b"\x55\x55\x7f", b"\x5d\x75\xff"), // %%%, ...
        (
            b"\xa0\xe4\x1d\x13\x9d\x09\xb8\xf0\x3f", // localhost:80
            b"\xa0\xe4\x1d\x13\x9d\x09\xb8\xf0\x3f",
        ),
        (
            b"\xff\xef\xff\xef\xf9\xff\xef\xff\xf1\xff\xff\x75\x5f", // ~{|}é%
            b"\xff\xef\xff\xef\xf9\xff\xef\xff\xf1\xff\xff\x75\x7f", // ~{|}é.
        ),
    ];
    for (path, name) in cases {
        let block = |value: &[u8]| {
            let length = 0x80 | u8::try_from(value.len()).unwrap();
            // Another field in the same code follows, which keeps what it holds.
            [&[0x83, 0x41, length], value, b"\x44\x83\x55\x55\x7f"].concat()
        };
        for size in [1, 2, 3, 5, 7, 4096] {
            let out = passed(&[frame(HEADERS, 4, &block(path))], size);
            assert_eq!(out, frame(HEADERS, 4, &block(name)), "{path:x?} {size}");
        }
    }
}

#[test]
fn every_form_of_a_header_section_is_followed() {
    let sent = block(b"\x41", "a%2Fb");
    let expected = block(b"\x41", "a-2Fb");
    let padded = |block: &[u8]| [&[2, 0, 0, 0, 0, 7], block, &[0x41, 0x25]].concat();
    for size in [1, 4, 4096] {
        let frames = |block: &[u8]| {
            [
                frame(4, 0, &[0; 12]),
                frame(HEADERS, 4 | PADDED | PRIORITY, &padded(block)),
                frame(0, 1, b"\x41\x03a%b"),
                frame(4, 1, &[]),
                frame(HEADERS, 0, &block[..5]),
                frame(CONTINUATION, 0, &[]),
                frame(CONTINUATION, 4, &block[5..]),
                frame(HEADERS, 4, block),
            ]
        };
        assert_eq!(passed(&frames(&sent), size), frames(&expected).concat(), "{size}");
    }
}

#[test]
fn other_fields_keep_what_they_hold() {
    for block in [
        // `:path: /a%b`, a table size, an index of two bytes, a name of two bytes' index.
        b"\x44\x04/a%b\x3f\xe1\x1f\xff\x00\x7f\x00\x03a%b".as_slice(),
        // Huffman code.
        b"\x44\x83\x55\x55\x7f",
        // Names that only begin or end like it.
        b"\x40\x09:authorit\x03a%b\x40\x0b:authority2\x03a%b\x40\x0b::authority\x03a%b",
    ] {
        let sent = [frame(HEADERS, 4, block)];
        assert_eq!(passed(&sent, 3), sent.concat());
    }
}

#[test]
fn what_is_not_http_2_stays_as_it_is() {
    let mut request = *b"GET /v1/token HTTP/1.1\r\nHost: a%2Fb\r\n\r\n";
    let sent = request;
    Frames::Preface { seen: 0 }.pass(&mut request);
    assert_eq!(request, sent);
}

#[test]
fn nonsense_is_harmless() {
    for (kind, flags, payload) in [
        (HEADERS, PADDED, b"\xff".as_slice()),
        (HEADERS, PADDED | PRIORITY, b"\x00"),
        (HEADERS, 4, b"\x41\xff\xff\xff\xff\xff\xff"),
        (HEADERS, 4, b"\x7f\xff\xff\xff\xff\xff%"),
    ] {
        let sent = [frame(kind, flags, payload), frame(0, 0, b"%%%%")];
        assert_eq!(passed(&sent, 1), sent.concat());
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, size in 1_usize..9) {
        passed(std::slice::from_ref(&bytes), size);
        passed(&[frame(HEADERS, bytes.first().copied().unwrap_or(4), &bytes)], size);
    }
}
