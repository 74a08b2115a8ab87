//! Lets gRPC clients in that name a Unix socket by its path.
//!
//! gRPC for C++, Python, Ruby and Java send the socket's path as `:authority`, percent-encoded or bare. So does the
//! one for Go where it is given the path alone, as the kubelet does at a plugin's registration (with `unix:` before it,
//! it sends `localhost`), in Huffman code. RFC 9113, section 8.3.1, allows no such host, and the `h2` crate resets those
//! requests with `PROTOCOL_ERROR`. Nobody reads the authority on these sockets, so the offending characters are
//! replaced as they are read. A value keeps its length, so that both ends' compression tables (RFC 7541) stay
//! equal.

mod code;
mod fields;
#[cfg(test)]
mod tests;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::opening::PREFACE;
use fields::Fields;

/// The length of a frame's header.
const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A connection whose requests' authorities `h2` accepts.
pub(crate) struct AnyAuthority<S> {
    stream: S,
    frames: Frames,
}

impl<S> AnyAuthority<S> {
    pub(crate) fn new(stream: S) -> Self {
        let frames = Frames::Preface { seen: 0 };
        Self { stream, frames }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for AnyAuthority<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.frames.pass(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for AnyAuthority<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What comes of a connection's bytes that arrive in these pieces.
#[cfg(fuzzing)]
pub(crate) fn passed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut frames = Frames::Preface { seen: 0 };
    let mut passed = Vec::new();
    for piece in pieces {
        let start = passed.len();
        passed.extend_from_slice(piece);
        frames.pass(&mut passed[start..]);
    }
    passed
}

/// Where in the connection the next byte is.
enum Frames {
    /// Within the preface.
    Preface { seen: usize },
    /// Within a frame's header.
    Header {
        header: [u8; FRAME_HEADER],
        seen: usize,
        fields: Fields,
    },
    /// Within a frame's payload: first what `skip` counts, then fields, then padding.
    Payload {
        pad_length: bool,
        skip: usize,
        block: usize,
        padding: usize,
        fields: Fields,
    },
    /// Not HTTP/2, or not understood: left as it is.
    Other,
}

impl Frames {
    fn header(fields: Fields) -> Self {
        Self::Header {
            header: [0; FRAME_HEADER],
            seen: 0,
            fields,
        }
    }

    /// Follows `bytes` and replaces what no authority may hold.
    fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let used = match self {
                Self::Preface { seen } => {
                    if bytes[0] == PREFACE[*seen] {
                        *seen += 1;
                        if *seen == PREFACE.len() {
                            *self = Self::header(Fields::Start);
                        }
                    } else {
                        *self = Self::Other;
                    }
                    1
                }
                Self::Header { header, seen, fields } => {
                    header[*seen] = bytes[0];
                    *seen += 1;
                    if *seen == FRAME_HEADER {
                        *self = Self::payload(*header, *fields);
                    }
                    1
                }
                Self::Payload { .. } => self.pass_payload(bytes),
                Self::Other => return,
            };
            bytes = &mut bytes[used..];
        }
    }

    /// What follows a frame's header.
    fn payload(header: [u8; FRAME_HEADER], fields: Fields) -> Self {
        let [a, b, c, kind, flags, ..] = header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let (pad_length, skip, fields) = match kind {
            HEADERS if flags & PRIORITY != 0 => (flags & PADDED != 0, 5, Fields::Start),
            HEADERS => (flags & PADDED != 0, 0, Fields::Start),
            CONTINUATION => (false, 0, fields),
            _ => (false, length, fields),
        };
        match length.checked_sub(skip + usize::from(pad_length)) {
            None => Self::Other,
            Some(_) if length == 0 => Self::header(fields),
            Some(block) => Self::Payload {
                pad_length,
                skip,
                block,
                padding: 0,
                fields,
            },
        }
    }

    /// Passes over a part of a payload; returns how many bytes that were.
    fn pass_payload(&mut self, bytes: &mut [u8]) -> usize {
        let Self::Payload {
            pad_length,
            skip,
            block,
            padding,
            fields,
        } = self
        else {
            return 0;
        };
        let used;
        if *pad_length {
            *pad_length = false;
            *padding = bytes[0].into();
            let Some(fewer) = block.checked_sub(*padding) else {
                *self = Self::Other;
                return 1;
            };
            *block = fewer;
            used = 1;
        } else if *skip > 0 {
            used = bytes.len().min(*skip);
            *skip -= used;
        } else if *block > 0 {
            used = bytes.len().min(*block);
            *block -= used;
            for byte in &mut bytes[..used] {
                *fields = fields.after(byte);
            }
        } else {
            used = bytes.len().min(*padding);
            *padding -= used;
        }
        if !*pad_length && *skip + *block + *padding == 0 {
            *self = Self::header(*fields);
        }
        used
    }
}
