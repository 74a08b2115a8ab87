//! Which of the machine's starts an uptime is counted from.

use super::Uptime;

/// Where Linux tells the present boot's id (`random(4)`).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// One run of the machine, from its start to its end: uptimes of two of them cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootId([u8; 16]);

impl BootId {
    /// The boot that these bytes stand for, as [`BootId::as_bytes`] gave them.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id, to be stored.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The present boot; `None` where the system does not tell.
    pub(super) fn present() -> Option<Self> {
        Self::parse(&std::fs::read_to_string(BOOT_ID).ok()?)
    }

    /// Reads a UUID (RFC 9562), as Linux writes it.
    fn parse(uuid: &str) -> Option<Self> {
        let digits = uuid.trim_end().replace('-', "");
        let number = u128::from_str_radix(&digits, 16).ok()?;
        (digits.len() == 32).then(|| Self(number.to_be_bytes()))
    }
}

/// A moment of uptime that the next process can make something of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootMoment {
    /// The run of the machine.
    pub boot: BootId,
    /// The moment in it.
    pub uptime: Uptime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_boot_has_one_id() {
        let boot = BootId::present().unwrap();
        assert_eq!(BootId::present(), Some(boot));
        assert_eq!(BootId::from_bytes(*boot.as_bytes()), boot);
    }

    #[test]
    fn an_id_is_all_of_a_uuid() {
        let read = BootId::parse("0123abcd-0000-4000-8000-00000000ffff\n").unwrap();
        assert_eq!(read.as_bytes()[..4], [0x01, 0x23, 0xab, 0xcd]);
        for text in ["", "0123abcd", "0123abcd-0000-4000-8000-00000000fffg"] {
            assert_eq!(BootId::parse(text), None, "{text}");
        }
    }
}
