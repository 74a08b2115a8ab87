//! A pipe to be somebody's standard error, which is read when the test wants it.

use std::{
    fs::OpenOptions,
    io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    process::Stdio,
};

use rustix::fs::OFlags;

/// A pipe that stays open on both sides.
pub(crate) struct Pipe {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Pipe {
    pub(crate) fn new() -> Self {
        let (reader, writer) = io::pipe().unwrap();
        Self { reader, writer }
    }

    /// A pipe that is full from the start.
    pub(crate) fn full() -> Self {
        let pipe = Self::new();
        pipe.fill();
        pipe
    }

    /// The end that is written to, for a child.
    pub(crate) fn end(&self) -> Stdio {
        self.writer.try_clone().unwrap().into()
    }

    /// Writes until nothing more fits.
    pub(crate) fn fill(&self) {
        // Through a description of its own: the child's writes go on to wait.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let path = format!("/proc/self/fd/{}", self.writer.as_raw_fd());
        let mut writer = OpenOptions::new()
            .write(true)
            .custom_flags(flags)
            .open(path)
            .unwrap();
        for size in [4096, 1] {
            let piece = vec![b'\n'; size];
            while match writer.write(&piece) {
                Ok(_) => true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                Err(error) => panic!("{error}"),
            } {}
        }
    }

    /// Reads until `wanted` is among what was read, and returns that.
    pub(crate) fn read_until(&mut self, wanted: &str) -> String {
        let (mut text, mut buffer) = (String::new(), [0; 4096]);
        while !text.contains(wanted) {
            let length = self.reader.read(&mut buffer).unwrap();
            assert_ne!(length, 0, "it ended without {wanted}: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        text
    }
}
