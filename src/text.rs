//! Text from outside: how it is read, shown and compared.

mod field;
pub(crate) mod json_fields;
mod path;
pub(crate) mod scrub;
pub(crate) mod seconds;
pub(crate) mod sentence;
mod size;
pub mod time_format;

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{DefaultIgnorableCodePoint, GeneralCategory, PrependedConcatenationMark},
};

pub use field::{Field, NotText};
pub use path::ShowPath;
pub use size::size;

/// U+FEFF in UTF-8, which Windows' editors and some servers put before a text. It says nothing here.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// The same in UTF-16.
const WIDE_BOMS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// A number of things: `1 agent`, `2 agents`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// `bytes` without a byte order mark before them.
pub fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BOM).unwrap_or(bytes)
}

/// `text` without a byte order mark before it.
pub fn plain(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The text in a file, without a byte order mark before it.
///
/// # Errors
/// A sentence about what it is instead, without its subject.
pub fn of_file(bytes: &[u8]) -> Result<&str, &'static str> {
    if WIDE_BOMS.iter().any(|bom| bytes.starts_with(bom)) {
        return Err("it is UTF-16, as some Windows programs write it: save it as UTF-8");
    }
    std::str::from_utf8(without_bom(bytes)).map_err(|_| "it is not UTF-8 text")
}

/// True for what a reader sees as it is: letters, marks, digits, punctuation, symbols and spaces of every script. Not for
/// what ends a line, moves a cursor, turns the direction of text round or shows nothing.
pub fn is_shown(c: char) -> bool {
    use GeneralCategory::{
        Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, Surrogate, Unassigned,
    };
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    match CodePointMapData::<GeneralCategory>::new().get(c) {
        Control | Surrogate | Unassigned | PrivateUse | LineSeparator | ParagraphSeparator => false,
        // Arabic's signs before a number are seen, unlike all others of their kind.
        Format => CodePointSetData::new::<PrependedConcatenationMark>().contains(c),
        _ => true,
    }
}

/// True for what can stand in a name or an address: what is shown and takes up room, white space apart.
pub fn is_part_of_name(c: char) -> bool {
    is_shown(c) && !c.is_whitespace() && !CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

/// At most `limit` characters of `text`, to be quoted in a sentence: what is not shown is written as an escape.
pub fn quoted(text: &str, limit: usize) -> String {
    let mut quoted = String::new();
    for c in text.chars().take(limit) {
        if is_shown(c) && c != '\\' {
            quoted.push(c);
        } else {
            quoted.extend(c.escape_default());
        }
    }
    quoted
}

/// Names as a sentence lists them, the first few of many.
pub fn few(names: &[&str]) -> String {
    const MOST: usize = 8;
    let list = names[..names.len().min(MOST)].join(", ");
    match names.len().saturating_sub(MOST) {
        0 => list,
        more => format!("{list} and {more} more"),
    }
}

/// A line as it may be written to a log or a terminal: what ends a line, moves the cursor or turns text round is written as an
/// escape. `kept` is left as it is.
pub fn one_line<'a>(line: &'a str, kept: &[char]) -> Cow<'a, str> {
    let stays = |c: char| is_shown(c) || kept.contains(&c);
    if line.chars().all(stays) {
        return Cow::Borrowed(line);
    }
    let mut safe = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        if stays(c) {
            safe.push(c);
        } else {
            safe.extend(c.escape_default());
        }
    }
    Cow::Owned(safe)
}

/// Whether two texts are the same address: in any case, and however its letters are composed (Unicode's NFC).
pub fn same_address(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(b);
    }
    folded(a) == folded(b)
}

fn folded(address: &str) -> String {
    const NFC: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfc();
    let composed: Cow<'_, str> = NFC.normalize(address);
    NFC.normalize(&composed.to_lowercase()).into_owned()
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
        assert_eq!(of_file("\u{feff}é\n".as_bytes()), Ok("é\n"));
        assert!(of_file(b"\xff\xfek\0").unwrap_err().contains("UTF-16"));
        assert_eq!(of_file(b"\xffk"), Err("it is not UTF-8 text"));
    }

    #[test]
    fn every_script_is_shown_and_what_plays_tricks_is_not() {
        for text in [
            "Jeton expiré: \"là\" 'ici' \\",
            "e\u{301}",
            "ผู้ใช้@ตัวอย่าง.ไทย",
            "उपयोगकर्ता@उदाहरण.भारत",
            "பயனர் ব্যবহারকারী উদাহরণ",
            "משתמש مستخدم",
            "期限切れ、ユーザー。한국어",
            "٣ × 5 ≠ ½ 🙂",
        ] {
            let hidden: Vec<char> = text.chars().filter(|c| !is_shown(*c)).collect();
            assert!(hidden.is_empty(), "{text}: {hidden:?}");
            assert_eq!(quoted(text, 100), text.replace('\\', "\\\\"));
        }
        for c in [
            '\n',
            '\t',
            '\u{1b}',
            '\u{7f}',
            '\u{9b}',
            '\u{85}',
            '\u{ad}',
            '\u{200b}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{feff}',
            '\u{e0041}',
            '\u{e000}',
            '\u{fffff}',
        ] {
            assert!(!is_shown(c), "{c:?}");
            assert!(quoted(&c.to_string(), 9).starts_with('\\'), "{c:?}");
        }
        assert_eq!(quoted("a\u{202e}b", 9), "a\\u{202e}b");
        assert_eq!(quoted("aaaa", 2), "aa");
    }

    #[test]
    fn a_name_takes_up_room() {
        assert!("ผู้ใช้o'brien@e\u{301}".chars().all(is_part_of_name));
        for c in [
            ' ', '\u{a0}', '\u{3000}', '\u{3164}', '\u{34f}', '\u{fe0f}', '\u{115f}', '\u{200d}', '\n',
        ] {
            assert!(!is_part_of_name(c), "{c:?}");
        }
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        for (a, b) in [
            ("Alice@Example.com", "alice@example.COM"),
            ("e\u{301}mile@example.com", "\u{e9}mile@example.com"),
            ("E\u{301}MILE@example.com", "\u{e9}mile@Example.com"),
            ("ДАРЬЯ@пример.рф", "дарья@пример.рф"),
        ] {
            assert!(same_address(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("alice@example.com", "alicе@example.com"),
            ("emile@example.com", "\u{e9}mile@example.com"),
            ("a@b", "a@b "),
        ] {
            assert!(!same_address(a, b), "{a} {b}");
        }
    }
}
