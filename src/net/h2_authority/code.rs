//! Follows Huffman code (RFC 7541, appendix B) bit by bit, without unpacking it.

/// How many characters there are of each length in bits. The code is canonical (short ones first, in order), so this is
/// all that it takes to find where characters end.
const CHARACTERS: [u32; 31] = [
    0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 4,
];

/// Where in a character's code the next bit is.
#[derive(Clone, Copy)]
pub(super) struct Code {
    /// The bits so far.
    bits: u32,
    /// The first of the characters' codes that are as long.
    first: u32,
    length: usize,
}

impl Code {
    pub(super) const START: Self = Self {
        bits: 0,
        first: 0,
        length: 0,
    };

    /// What follows `byte`. Characters that a path brings into an authority become others, with a bit that has yet to
    /// pass: what has passed cannot be changed. So both ends still count as many characters.
    pub(super) fn after(mut self, byte: &mut u8) -> Self {
        for place in (0..8).rev() {
            let first = (self.first + CHARACTERS[self.length]) << 1;
            self = Self {
                bits: self.bits << 1 | u32::from(*byte >> place & 1),
                first,
                length: self.length + 1,
            };
            match (self.length, self.bits) {
                // A space or `%`: `-` or `.`.
                (5, 0b0_1010) |
                // `/`: `3`.
                (6, 0b01_1000) => {
                    *byte |= 1 << place;
                    self.bits |= 1;
                }
                _ => {}
            }
            // The last length is never passed: every code that is as long is somebody's.
            if self.length + 1 == CHARACTERS.len() || self.bits < self.first + CHARACTERS[self.length] {
                self = Self::START;
            }
        }
        self
    }
}
