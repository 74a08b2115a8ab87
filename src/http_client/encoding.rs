//! Bodies that come compressed all the same, although they are asked for as they are (RFC 9110, section 8.4).

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};
use zeroize::Zeroizing;

use super::error::TransportError;

/// What a gzip file begins with (RFC 1952, section 2.3.1).
const GZIP: &[u8] = &[0x1f, 0x8b];
/// How often a body may be compressed: by the server, and once more by a proxy.
const LAYERS: usize = 2;

/// The body as it was before it was compressed, as far as it can be had, and why there is no more of it. What a body begins
/// with counts more than its label: some servers forget the one, some proxies the other.
pub(crate) fn decoded(
    headers: &HeaderMap,
    body: Zeroizing<Vec<u8>>,
    limit: usize,
) -> (Zeroizing<Vec<u8>>, Option<TransportError>) {
    let mut label = label(headers);
    let mut body = body;
    for _ in 0..LAYERS {
        let (plain, outcome) = if body.starts_with(GZIP) {
            expand(MultiGzDecoder::new(body.as_slice()), limit)
        } else if label == "deflate" && !is_object(&body) {
            // With the two bytes of zlib before it, as the standard says, or without, as some understood it.
            let (plain, outcome) = expand(ZlibDecoder::new(body.as_slice()), limit);
            if plain.is_empty() {
                expand(DeflateDecoder::new(body.as_slice()), limit)
            } else {
                (plain, outcome)
            }
        } else {
            break;
        };
        body = plain;
        label.clear();
        if outcome.is_some() {
            return (body, outcome);
        }
    }
    if let Some(text) = from_utf16(&body) {
        body = text;
    }
    let known = matches!(label.as_str(), "" | "identity" | "gzip" | "x-gzip" | "deflate");
    (body, (!known).then_some(TransportError::Encoding(label)))
}

/// What is UTF-16 by its mark, or by how it begins, as UTF-8; `None` for anything else.
fn from_utf16(body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (unit, start): (fn([u8; 2]) -> u16, usize) = match body {
        [0xff, 0xfe, ..] => (u16::from_le_bytes, 2),
        [0xfe, 0xff, ..] => (u16::from_be_bytes, 2),
        [b'{', 0, ..] => (u16::from_le_bytes, 0),
        [0, b'{', ..] => (u16::from_be_bytes, 0),
        _ => return None,
    };
    let (pairs, _) = body[start..].as_chunks::<2>();
    let characters = char::decode_utf16(pairs.iter().map(|pair| unit(*pair)));
    // Room for all of it: growing would leave copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(body.len() * 3 / 2 + 4));
    for character in characters {
        let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(text)
}

/// It begins as what is asked for does.
fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

/// The last encoding of a body, which is the first to be undone.
fn label(headers: &HeaderMap) -> String {
    let label = headers.get_all(header::CONTENT_ENCODING).iter().next_back();
    let label = label.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let last = label.rsplit(',').next().unwrap_or_default();
    last.trim().to_ascii_lowercase()
}

/// Reads to the end, to the limit, or to where it breaks.
fn expand(mut from: impl Read, limit: usize) -> (Zeroizing<Vec<u8>>, Option<TransportError>) {
    // Room for all of it: growing would leave copies behind.
    let mut whole = Zeroizing::new(vec![0; limit + 1]);
    let mut length = 0;
    let outcome = loop {
        match from.read(&mut whole[length..]) {
            Ok(0) => break None,
            Ok(more) => length += more,
            Err(error) => {
                break Some(TransportError::Network(format!(
                    "the compressed answer is damaged: {error}"
                )));
            }
        }
        if length > limit {
            break Some(TransportError::TooLarge(limit));
        }
    };
    whole.truncate(length.min(limit));
    (whole, outcome)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write};
    use http::HeaderValue;

    use super::*;

    const TEXT: &[u8] = b"{\"access_token\":\"t\",\"expires_in\":3599}";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut to = write::GzEncoder::new(Vec::new(), Compression::default());
        to.write_all(text).unwrap();
        to.finish().unwrap()
    }

    fn read(label: Option<&'static str>, body: &[u8], limit: usize) -> (Vec<u8>, Option<TransportError>) {
        let value = label.map(|label| (header::CONTENT_ENCODING, HeaderValue::from_static(label)));
        let (body, outcome) = decoded(&value.into_iter().collect(), Zeroizing::new(body.to_vec()), limit);
        (body.to_vec(), outcome)
    }

    #[test]
    fn what_is_compressed_is_read_whatever_its_label_says() {
        let zlib = {
            let mut to = write::ZlibEncoder::new(Vec::new(), Compression::default());
            to.write_all(TEXT).unwrap();
            to.finish().unwrap()
        };
        let deflate = {
            let mut to = write::DeflateEncoder::new(Vec::new(), Compression::default());
            to.write_all(TEXT).unwrap();
            to.finish().unwrap()
        };
        for (label, body) in [
            (None, TEXT.to_vec()),
            (Some("identity"), TEXT.to_vec()),
            (Some("gzip"), TEXT.to_vec()),
            (Some("deflate"), TEXT.to_vec()),
            (Some("deflate"), [b"\r\n ", TEXT].concat()),
            (Some("gzip"), gzip(TEXT)),
            (Some("GZIP "), gzip(TEXT)),
            (Some("x-gzip"), gzip(TEXT)),
            (None, gzip(TEXT)),
            // A file of several members (RFC 1952, section 2.2).
            (Some("gzip"), [gzip(&TEXT[..9]), gzip(&TEXT[9..])].concat()),
            (Some("identity"), gzip(TEXT)),
            (Some("gzip, gzip"), gzip(&gzip(TEXT))),
            (Some("deflate"), zlib),
            (Some("deflate"), deflate),
        ] {
            let (body, outcome) = read(label, &body, 1000);
            assert_eq!((body.trim_ascii_start(), outcome), (TEXT, None), "{label:?}");
        }
    }

    #[test]
    fn utf16_is_read_in_either_order_with_a_mark_or_without() {
        const WIDE: &str = "{\"token\":\"t\",\"words\":\"caf\u{e9} \u{1f642}\"}";
        for mark in ["\u{feff}", ""] {
            let units: Vec<u16> = format!("{mark}{WIDE}").encode_utf16().collect();
            let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            for body in [little.clone(), big, gzip(&little)] {
                assert_eq!(read(None, &body, 1000), (WIDE.as_bytes().to_vec(), None));
            }
            // One that breaks off gives what came before.
            let (cut, _) = read(None, &little[..little.len() - 5], 1000);
            assert_eq!(cut[..WIDE.len() - 12], WIDE.as_bytes()[..WIDE.len() - 12]);
        }
        assert_eq!(read(None, b"{", 1000), (b"{".to_vec(), None));
    }

    #[test]
    fn another_encoding_is_named_and_the_body_left_as_it_is() {
        let named = Some(TransportError::Encoding("br".to_owned()));
        assert_eq!(read(Some("br"), b"\x0b\x02", 1000), (b"\x0b\x02".to_vec(), named));
    }

    #[test]
    fn a_bomb_is_not_unpacked_and_a_damaged_body_gives_what_came_before() {
        let bomb = gzip(&vec![b' '; 10_000_000]);
        assert!(bomb.len() < 20_000);
        let (body, outcome) = read(Some("gzip"), &bomb, 1000);
        assert_eq!(
            (body.len(), outcome),
            (1000, Some(TransportError::TooLarge(1000)))
        );
        let whole = gzip(TEXT);
        let (body, outcome) = read(Some("gzip"), &whole[..whole.len() - 9], 1000);
        assert!(TEXT.starts_with(&body), "{body:?}");
        assert!(matches!(outcome, Some(TransportError::Network(_))), "{outcome:?}");
        let (body, outcome) = read(Some("gzip"), &whole[..whole.len() - 4], 1000);
        assert_eq!(body, TEXT, "only the check at the end is missing");
        assert!(outcome.is_some());
    }
}
