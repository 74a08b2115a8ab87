//! Follows compressed header fields (HPACK, RFC 7541) byte by byte, without unpacking them.

use super::code::Code;

/// `:authority` in the static table (RFC 7541, appendix A). gRPC's core spells the name out instead.
const AUTHORITY: u32 = 1;
const AUTHORITY_NAME: &[u8] = b":authority";

/// Which part of a field a text is.
#[derive(Clone, Copy)]
pub(super) enum Text {
    /// A name, of which so many bytes are those of `:authority`.
    Name {
        same: usize,
    },
    Value,
    /// `:authority`, and where in its Huffman code the next byte is, if it has one.
    Authority(Code),
}

impl Text {
    const NAME: Self = Self::Name { same: 0 };
    const AUTHORITY: Self = Self::Authority(Code::START);
}

/// Where in a block of compressed fields (RFC 7541, section 6) the next byte is.
#[derive(Clone, Copy)]
pub(super) enum Fields {
    /// At the start of a field.
    Start,
    /// Within an index; a text follows where the field is `literal`.
    Index { index: Integer, literal: bool },
    /// At a text's length.
    Length(Text),
    /// Within a text's length.
    LongLength {
        length: Integer,
        text: Text,
        huffman: bool,
    },
    /// Within a text.
    Text { left: u32, text: Text, huffman: bool },
    /// Not understood.
    Unknown,
}

/// An integer that takes more than one byte (RFC 7541, section 5.1).
#[derive(Clone, Copy)]
pub(super) struct Integer {
    value: u32,
    shift: u8,
}

impl Integer {
    /// With the next byte; `Err` when that is not the last one, `None` when it is too large.
    fn after(self, byte: u8) -> Option<Result<u32, Self>> {
        // Four bytes reach beyond everything that a header section may hold.
        if self.shift > 21 {
            return None;
        }
        let value = self.value + (u32::from(byte & 0x7f) << self.shift);
        let more = Self {
            value,
            shift: self.shift + 7,
        };
        Some(if byte & 0x80 == 0 { Ok(value) } else { Err(more) })
    }
}

impl Fields {
    /// What follows `byte`, which is replaced where it has to be.
    pub(super) fn after(self, byte: &mut u8) -> Self {
        match self {
            Self::Start => Self::first(*byte),
            Self::Index { index, literal } => match index.after(*byte) {
                Some(Ok(index)) => Self::indexed(index, literal),
                Some(Err(index)) => Self::Index { index, literal },
                None => Self::Unknown,
            },
            Self::Length(text) => {
                let huffman = *byte & 0x80 != 0;
                match *byte & 0x7f {
                    0x7f => Self::LongLength {
                        length: Integer {
                            value: 0x7f,
                            shift: 0,
                        },
                        text,
                        huffman,
                    },
                    length => Self::text(length.into(), text, huffman),
                }
            }
            Self::LongLength {
                length,
                text,
                huffman,
            } => match length.after(*byte) {
                Some(Ok(length)) => Self::text(length, text, huffman),
                Some(Err(length)) => Self::LongLength {
                    length,
                    text,
                    huffman,
                },
                None => Self::Unknown,
            },
            Self::Text { left, text, huffman } => {
                let text = match text {
                    Text::Name { same } if AUTHORITY_NAME.get(same) == Some(byte) && !huffman => {
                        Text::Name { same: same + 1 }
                    }
                    // More than can match any more.
                    Text::Name { .. } => Text::Name { same: usize::MAX },
                    Text::Authority(code) if huffman => Text::Authority(code.after(byte)),
                    Text::Authority(_) if !may_stay(*byte) => {
                        *byte = b'-';
                        text
                    }
                    _ => text,
                };
                Self::text(left - 1, text, huffman)
            }
            Self::Unknown => Self::Unknown,
        }
    }

    /// After a field's first byte: its kind, and the index or the beginning of it.
    fn first(byte: u8) -> Self {
        let (mask, literal) = match byte.leading_zeros() {
            0 => (0x7f, false), // from the table
            1 => (0x3f, true),  // literal, and into the table
            2 => (0x1f, false), // the table's size
            _ => (0x0f, true),  // literal, and not into the table
        };
        let value = u32::from(byte & mask);
        if byte & mask == mask {
            let index = Integer { value, shift: 0 };
            return Self::Index { index, literal };
        }
        Self::indexed(value, literal)
    }

    fn indexed(index: u32, literal: bool) -> Self {
        match (literal, index) {
            (false, _) => Self::Start,
            (true, 0) => Self::Length(Text::NAME),
            (true, AUTHORITY) => Self::Length(Text::AUTHORITY),
            (true, _) => Self::Length(Text::Value),
        }
    }

    /// With `left` bytes of a text to come.
    fn text(left: u32, text: Text, huffman: bool) -> Self {
        match (left, text) {
            (0, Text::Name { same }) if same == AUTHORITY_NAME.len() => Self::Length(Text::AUTHORITY),
            (0, Text::Name { .. }) => Self::Length(Text::Value),
            (0, _) => Self::Start,
            _ => Self::Text { left, text, huffman },
        }
    }
}

/// True for what the `http` crate takes in a host, a port or an IPv6 address.
fn may_stay(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'[' | b']' | b'@')
}
