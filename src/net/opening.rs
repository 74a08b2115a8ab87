//! The first bytes of a connection, which tell the HTTP that its client speaks.
//!
//! They are read as they come rather than to the length that tells the versions apart: the whole of a usual request is there
//! with one read, and what serves the connection finds it in the room that it has for one.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// How an HTTP/2 connection begins (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// As much as most requests take.
const ROOM: usize = 1024;

/// Which HTTP a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// HTTP/1.1, or what comes nearest to it.
    Http1,
    /// HTTP/2, known by its preface.
    Http2,
}

/// A stream whose first bytes were read and are given once more.
///
/// It is closed by dropping it, which on a socket says to the other end what `shutdown` would.
pub(crate) struct Opened<S> {
    first: Vec<u8>,
    given: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> Opened<S> {
    /// Waits until the first bytes tell what is spoken.
    ///
    /// # Errors
    /// When the stream cannot be read.
    pub(crate) async fn read(mut stream: S) -> io::Result<(Spoken, Self)> {
        let mut first = Vec::with_capacity(ROOM);
        let spoken = loop {
            let read = stream.read_buf(&mut first).await?;
            match spoken(&first) {
                None if read > 0 => {}
                spoken => break spoken.unwrap_or(Spoken::Http1),
            }
        };
        let opened = Self {
            first,
            given: 0,
            stream,
        };
        Ok((spoken, opened))
    }
}

/// What is spoken on a connection that begins with `bytes`; `None` when they do not tell yet.
fn spoken(bytes: &[u8]) -> Option<Spoken> {
    if bytes.starts_with(PREFACE) {
        Some(Spoken::Http2)
    } else if PREFACE.starts_with(bytes) {
        None
    } else {
        Some(Spoken::Http1)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opened<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let first = &self.first[self.given..];
        if first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = first.len().min(buffer.remaining());
        buffer.put_slice(&first[..length]);
        self.given += length;
        if self.given == self.first.len() {
            (self.first, self.given) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opened<S> {
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

    /// What was written is on its way. The stream is dropped next, which closes it: a call of the system less.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn what_is_spoken_is_known_as_soon_as_it_can_be() {
        for (bytes, told) in [
            (&b""[..], None),
            (b"PRI", None),
            (&PREFACE[..23], None),
            (PREFACE, Some(Spoken::Http2)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04", Some(Spoken::Http2)),
            (b"G", Some(Spoken::Http1)),
            (b"PUT / HTTP/1.1\r\n", Some(Spoken::Http1)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", Some(Spoken::Http1)),
        ] {
            assert_eq!(spoken(bytes), told, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    /// What is read of a connection on which these pieces come, and what is spoken on it.
    async fn read_in(pieces: &[&[u8]], room: usize) -> (Spoken, Vec<u8>) {
        let (server, mut client) = tokio::io::duplex(1);
        let pieces = pieces.concat();
        let sending = async move { client.write_all(&pieces).await.unwrap() };
        let reading = async {
            let (spoken, mut opened) = Opened::read(server).await.unwrap();
            let (mut bytes, mut piece) = (Vec::new(), vec![0; room]);
            loop {
                let read = opened.read(&mut piece).await.unwrap();
                if read == 0 {
                    break (spoken, bytes);
                }
                bytes.extend_from_slice(&piece[..read]);
            }
        };
        tokio::join!(reading, sending).0
    }

    #[tokio::test]
    async fn every_byte_is_given_once_and_in_order() {
        let request = b"GET /v1/token HTTP/1.1\r\nhost: broker\r\n\r\n";
        for room in [1, 7, 4096] {
            let (spoken, bytes) = read_in(&[request], room).await;
            assert_eq!((spoken, &bytes[..]), (Spoken::Http1, &request[..]));
            let (spoken, bytes) = read_in(&[PREFACE, b"more"], room).await;
            assert_eq!((spoken, bytes), (Spoken::Http2, [PREFACE, b"more"].concat()));
        }
    }

    #[tokio::test]
    async fn who_says_nothing_or_stops_within_the_preface_is_told_by_the_end() {
        assert_eq!(read_in(&[], 8).await, (Spoken::Http1, Vec::new()));
        assert_eq!(read_in(&[b"PRI *"], 8).await, (Spoken::Http1, b"PRI *".to_vec()));
    }
}
