//! A client of an agent's socket that costs as little as possible: blocking, one kept connection, no parser.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

/// A kept connection.
pub(crate) struct Asker {
    stream: UnixStream,
    request: String,
    answer: Vec<u8>,
}

impl Asker {
    /// Connects to the socket in an agent's directory; will ask for `path`.
    pub(crate) fn connect(agent: &Path, path: &str) -> Self {
        let stream = UnixStream::connect(agent.join("broker.sock")).expect("the socket answers");
        Self {
            stream,
            request: format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
            answer: vec![0; 16 * 1024],
        }
    }

    /// Asks, and returns the whole answer.
    pub(crate) fn ask(&mut self) -> &str {
        self.stream
            .write_all(self.request.as_bytes())
            .expect("the request is taken");
        let mut filled = 0;
        loop {
            let read = self
                .stream
                .read(&mut self.answer[filled..])
                .expect("an answer comes");
            assert!(read > 0, "the connection was closed");
            filled += read;
            if is_whole(&self.answer[..filled]) {
                return std::str::from_utf8(&self.answer[..filled]).expect("the answer is text");
            }
        }
    }

    /// Asks for a token, and returns it.
    pub(crate) fn token(&mut self) -> String {
        let answer = self.ask();
        let (_, rest) = answer
            .split_once("\"access_token\":\"")
            .unwrap_or_else(|| panic!("no token: {answer}"));
        rest.split('"').next().unwrap_or_default().to_owned()
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let head = std::str::from_utf8(&answer[..end]).expect("headers are text");
    let length: usize = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        })
        .expect("the answer has a length");
    answer.len() >= end + 4 + length
}
