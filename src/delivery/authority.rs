//! Lets clients in that name the socket's path as the authority of their requests.
//!
//! On a Unix socket, gRPC's C core (Python, C++, Ruby) sends `:authority: %2Frun%2F…%2Fbroker.sock` and Netty
//! sends the bare path. RFC 9113, section 8.3.1 allows neither, and `h2` resets such a stream with
//! `PROTOCOL_ERROR` before anybody can say why (hyperium/h2#487, grpc/grpc#38142). Nothing here looks at the
//! authority, so the bytes that it may not hold are replaced by `-` as they are read. Lengths stay the same,
//! so neither the frames nor the compression (RFC 7541) are touched.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const AUTHORITY: &[u8] = b":authority";
/// The static table's index of `:authority` (RFC 7541, appendix A).
const AUTHORITY_INDEX: usize = 1;
const FRAME_HEADER: usize = 9;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A connection whose client may name any authority.
pub(super) struct AnyAuthority {
    stream: UnixStream,
    reader: Reader,
}

impl AnyAuthority {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            reader: Reader::Preface(0),
        }
    }
}

impl AsyncRead for AnyAuthority {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        if !matches!(this.reader, Reader::Off) {
            let bytes = buffer.filled_mut().get_mut(before..).unwrap_or_default();
            this.reader.read(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for AnyAuthority {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Where in the byte stream the next byte stands.
enum Reader {
    /// In the connection preface, so many bytes of which were seen.
    Preface(usize),
    /// In an HTTP/2 connection.
    Frames(Frames),
    /// It is HTTP/1, or something that `h2` will refuse: nothing is looked at any more.
    Off,
}

impl Reader {
    fn read(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            match self {
                Self::Preface(seen) => {
                    let expected = PREFACE.get(*seen..).unwrap_or_default();
                    let length = expected.len().min(bytes.len());
                    let (head, rest) = bytes.split_at_mut(length);
                    if !expected.starts_with(head) {
                        *self = Self::Off;
                        return;
                    }
                    *seen += length;
                    if *seen == PREFACE.len() {
                        *self = Self::Frames(Frames::default());
                    }
                    bytes = rest;
                }
                Self::Frames(frames) => match frames.read(bytes) {
                    Some(read) => bytes = bytes.get_mut(read..).unwrap_or_default(),
                    None => *self = Self::Off,
                },
                Self::Off => return,
            }
        }
    }
}

/// Finds the header blocks in the frames (RFC 9113, section 4.1 and 6.2).
#[derive(Default)]
struct Frames {
    header: [u8; FRAME_HEADER],
    header_seen: usize,
    /// What is left of the frame's payload.
    payload: usize,
    /// What of it comes before the header block.
    skip: usize,
    /// What of it is padding, at its end.
    padding: usize,
    padding_unknown: bool,
    block: Block,
}

impl Frames {
    /// Reads part of `bytes` and tells how much; `None` when it makes no sense.
    fn read(&mut self, bytes: &mut [u8]) -> Option<usize> {
        if self.payload == 0 {
            return Some(self.read_header(bytes));
        }
        let available = self.payload.min(bytes.len());
        if !self.holds_headers() {
            self.payload -= available;
            return Some(available);
        }
        if self.padding_unknown {
            self.padding_unknown = false;
            self.padding = usize::from(*bytes.first()?);
            self.payload -= 1;
            return (self.skip + self.padding <= self.payload).then_some(1);
        }
        if self.skip > 0 {
            let skipped = self.skip.min(available);
            self.skip -= skipped;
            self.payload -= skipped;
            return Some(skipped);
        }
        let length = available.min(self.payload - self.padding.min(self.payload));
        self.block.read(bytes.get_mut(..length)?)?;
        // Only padding is left when there is no more of the block.
        let read = if length == 0 { available } else { length };
        self.payload -= read;
        self.padding = self.padding.min(self.payload);
        Some(read)
    }

    fn read_header(&mut self, bytes: &[u8]) -> usize {
        let length = (FRAME_HEADER - self.header_seen).min(bytes.len());
        for (place, byte) in self.header.iter_mut().skip(self.header_seen).zip(bytes) {
            *place = *byte;
        }
        self.header_seen += length;
        if self.header_seen == FRAME_HEADER {
            self.header_seen = 0;
            let [a, b, c, kind, flags, ..] = self.header;
            self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            let begins = kind == HEADERS;
            self.padding_unknown = begins && flags & PADDED != 0;
            self.padding = 0;
            self.skip = if begins && flags & PRIORITY != 0 { 5 } else { 0 };
            if begins {
                self.block = Block::default();
            }
        }
        length
    }

    fn holds_headers(&self) -> bool {
        matches!(self.header[3], HEADERS | CONTINUATION)
    }
}

/// Walks through a header block, field by field (RFC 7541, section 5 and 6).
#[derive(Default)]
struct Block {
    at: At,
    /// The integer that is being read.
    number: usize,
    shift: u32,
    /// What is left of the string that is being read.
    left: usize,
    huffman: bool,
    /// The field is `:authority`, as far as it was seen.
    authority: bool,
    matched: usize,
}

/// What the next byte of a header block belongs to.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum At {
    /// A new field.
    #[default]
    Field,
    /// The rest of an index or size with nothing after it.
    Number,
    /// The rest of the index of a name.
    NameIndex,
    NameLength,
    NameLengthRest,
    Name,
    ValueLength,
    ValueLengthRest,
    Value,
}

impl Block {
    fn read(&mut self, bytes: &mut [u8]) -> Option<()> {
        bytes.iter_mut().try_for_each(|byte| self.read_byte(byte))
    }

    fn read_byte(&mut self, byte: &mut u8) -> Option<()> {
        match self.at {
            At::Field => self.begin_field(*byte),
            At::Number => {
                if self.number_ends(*byte)? {
                    self.at = At::Field;
                }
            }
            At::NameIndex => {
                if self.number_ends(*byte)? {
                    self.name_is(self.number);
                }
            }
            At::NameLength | At::ValueLength => self.begin_string(*byte),
            At::NameLengthRest | At::ValueLengthRest => {
                if self.number_ends(*byte)? {
                    self.string_has(self.number);
                }
            }
            At::Name => {
                self.authority &= !self.huffman && AUTHORITY.get(self.matched) == Some(byte);
                self.matched += 1;
                self.left -= 1;
                if self.left == 0 {
                    self.authority &= self.matched == AUTHORITY.len();
                    self.at = At::ValueLength;
                }
            }
            At::Value => {
                if self.authority && !self.huffman && !may_stand_in_authority(*byte) {
                    *byte = b'-';
                }
                self.left -= 1;
                if self.left == 0 {
                    self.at = At::Field;
                }
            }
        }
        Some(())
    }

    fn begin_field(&mut self, byte: u8) {
        // The bits say what it is: an indexed field, a literal to be indexed, a new table size, or a literal.
        let (bits, then) = match byte.leading_zeros() {
            0 => (7, At::Number),
            1 => (6, At::NameIndex),
            2 => (5, At::Number),
            _ => (4, At::NameIndex),
        };
        self.at = then;
        if self.number_begins(byte, bits) {
            match then {
                At::NameIndex => self.name_is(self.number),
                _ => self.at = At::Field,
            }
        }
    }

    fn name_is(&mut self, index: usize) {
        self.authority = index == AUTHORITY_INDEX;
        self.at = At::ValueLength;
        if index == 0 {
            self.authority = true;
            self.matched = 0;
            self.at = At::NameLength;
        }
    }

    fn begin_string(&mut self, byte: u8) {
        self.huffman = byte & 0x80 != 0;
        self.at = if self.at == At::NameLength {
            At::NameLengthRest
        } else {
            At::ValueLengthRest
        };
        if self.number_begins(byte, 7) {
            self.string_has(self.number);
        }
    }

    fn string_has(&mut self, length: usize) {
        self.left = length;
        self.at = match (self.at, length) {
            (At::NameLengthRest, 0) => At::ValueLength,
            (At::NameLengthRest, _) => At::Name,
            (_, 0) => At::Field,
            (_, _) => At::Value,
        };
    }

    /// Begins an integer; true when it ends with this byte (RFC 7541, section 5.1).
    fn number_begins(&mut self, byte: u8, bits: u32) -> bool {
        let most = (1_u8 << bits) - 1;
        self.number = usize::from(byte & most);
        self.shift = 0;
        byte & most != most
    }

    /// Reads on in an integer; true when it ends with this byte, `None` when it is too long to be true.
    fn number_ends(&mut self, byte: u8) -> Option<bool> {
        if self.shift > 21 {
            return None;
        }
        self.number += usize::from(byte & 0x7f) << self.shift;
        self.shift += 7;
        Some(byte & 0x80 == 0)
    }
}

/// The characters of a host and a port (RFC 3986, section 3.2). `%` is among them in the RFC, not in `http`.
fn may_stand_in_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &[u8] = b"%2Frun%2Ftb%2Fbroker.sock";
    const MENDED: &[u8] = b"-2Frun-2Ftb-2Fbroker.sock";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        [&head, payload].concat()
    }

    fn literal(first: &[u8], value: &[u8]) -> Vec<u8> {
        [first, &[u8::try_from(value.len()).unwrap()], value].concat()
    }

    /// What comes out, however the bytes arrive.
    fn through(bytes: &[u8]) -> Vec<u8> {
        let whole = {
            let mut out = bytes.to_vec();
            Reader::Preface(0).read(&mut out);
            out
        };
        for size in [1, 2, 3, 7, 10] {
            let mut reader = Reader::Preface(0);
            let mut out = bytes.to_vec();
            out.chunks_mut(size).for_each(|chunk| reader.read(chunk));
            assert_eq!(out, whole, "in pieces of {size}");
        }
        whole
    }

    fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
        [PREFACE, &frames.concat()].concat()
    }

    /// Everything in a block as clients send it, with the authority given.
    fn block(authority: &[u8]) -> Vec<u8> {
        let long = [
            literal(&[0x40, 6], b"x-long")[..2].to_vec(),
            b"x-long".to_vec(),
            vec![0x7f, 0x49],
        ];
        [
            // :method POST, a table size of 4096, :scheme http.
            vec![0x83, 0x3f, 0xe1, 0x1f, 0x86],
            // :path, which holds what an authority may not.
            literal(&[0x04], b"/a%2Fb"),
            authority.to_vec(),
            // A value of 200 bytes.
            long.concat(),
            vec![b'%'; 200],
            literal(&[0x0f, 0x2b], b"a%2Fb"),
        ]
        .concat()
    }

    fn indexed(value: &[u8]) -> Vec<u8> {
        literal(&[0x41], value)
    }

    fn spelled(value: &[u8]) -> Vec<u8> {
        literal(&[&[0x40, 10], AUTHORITY].concat(), value)
    }

    #[test]
    fn the_authority_is_mended_and_nothing_else() {
        for form in [indexed, spelled] {
            let send = |value| {
                let settings = frame(4, 0, &[0x41, 3, b'%', b'%', b'%', 0]);
                let headers = frame(HEADERS, 4, &block(&form(value)));
                let data = frame(0, 1, &indexed(PATH));
                connection(&[settings, headers.clone(), data, headers])
            };
            assert_eq!(through(&send(PATH)), send(MENDED));
            assert_eq!(
                through(&send(b"/run/tb/broker.sock")),
                send(b"-run-tb-broker.sock")
            );
            assert_eq!(through(&send(b"[::1]:80")), send(b"[::1]:80"));
            assert_eq!(through(&send(b"")), send(b""));
        }
    }

    #[test]
    fn padding_priority_and_continuation_are_understood() {
        let send = |value| {
            let block = block(&indexed(value));
            let (first, rest) = block.split_at(20);
            let padded = [&[3], &[0, 0, 0, 0, 16][..], first, b"\x41\x02%"].concat();
            let begin = frame(HEADERS, PADDED | PRIORITY, &padded);
            connection(&[begin, frame(CONTINUATION, 4, rest)])
        };
        assert_eq!(through(&send(PATH)), send(MENDED));
    }

    #[test]
    fn compressed_values_and_other_names_stay() {
        let huffman = [&[0x41, 0x80 | 3][..], b"%%%"].concat();
        let other = literal(b"\x40\x0a:authoritx", PATH);
        let longer = literal(b"\x40\x0b:authorityx", PATH);
        let shorter = literal(b"\x40\x09:authorit", PATH);
        for field in [huffman, other, longer, shorter] {
            let bytes = connection(&[frame(HEADERS, 4, &field)]);
            assert_eq!(through(&bytes), bytes);
        }
    }

    #[test]
    fn http1_is_not_looked_at() {
        let request = b"PRI /%2F HTTP/1.1\r\nhost: %2F\r\n\r\n";
        assert_eq!(through(request), request);
    }

    proptest::proptest! {
        #[test]
        fn rubbish_does_no_harm(rubbish: Vec<u8>, kind in 0_u8..10, flags: u8) {
            let bytes = connection(&[frame(kind, flags, &rubbish), rubbish.clone()]);
            proptest::prop_assert_eq!(through(&bytes).len(), bytes.len());
        }
    }
}
