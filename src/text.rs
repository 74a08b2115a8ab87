//! Text from outside: what is passed over before it is read.

/// U+FEFF in UTF-8, which Windows' editors and some servers put before a text. It says nothing here.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// `bytes` without a byte order mark before them.
pub fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BOM).unwrap_or(bytes)
}

/// `text` without a byte order mark before it.
pub fn plain(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mark_is_passed_over_and_only_before_the_text() {
        assert_eq!(without_bom("\u{feff}{}".as_bytes()), b"{}");
        assert_eq!(without_bom(b"{}"), b"{}");
        assert_eq!(plain("\u{feff}a\u{feff}"), "a\u{feff}");
        assert_eq!(plain(""), "");
    }
}
