//! What a provider wrote, made safe to show: short, printable, and without the secrets it echoed.

use std::collections::HashSet;

use crate::{secret::shape, text::is_shown};

/// Pieces of a secret at least this long are taken out, so that a cut or percent-encoded echo goes too.
const PIECE: usize = 8;
/// What is read of a provider's text.
const READ: usize = 2048;
/// What is kept of it, in characters.
const KEPT: usize = 200;
/// The longest name or address that is shown as it stands.
const PLAIN: usize = 120;
const REDACTED: &str = "[redacted]";

/// At most 200 printable characters of `text`, with every piece of a secret replaced.
pub(crate) fn scrub(text: &str, secrets: &[&str]) -> String {
    let read = &text.as_bytes()[..text.len().min(READ)];
    let hidden = hidden(read, secrets);
    let mut shown = String::new();
    let mut rest = 0..read.len();
    while let Some(start) = rest.next() {
        let end = rest
            .clone()
            .find(|&next| hidden[next] != hidden[start])
            .unwrap_or(read.len());
        if hidden[start] {
            shown.push_str(REDACTED);
        } else {
            shown.push_str(&String::from_utf8_lossy(&read[start..end]));
        }
        rest = end..read.len();
    }
    let shown: String = shown.chars().map(printable).take(KEPT).collect();
    shown.trim().to_owned()
}

/// A name or an address that somebody wrote into a file, if it looks like one: whatever else stands there could be a
/// secret in the wrong place.
pub(crate) fn plain(text: &str) -> String {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._:/@".contains(&b);
    if text.len() <= PLAIN && text.bytes().all(fits) && !shape::is_suspicious(text) {
        text.to_owned()
    } else {
        "(not shown: it may be a secret)".to_owned()
    }
}

/// Which bytes of `text` belong to a secret, or look like one that is not known here.
fn hidden(text: &[u8], secrets: &[&str]) -> Vec<bool> {
    let mut hidden = vec![false; text.len()];
    for range in shape::ranges(text) {
        hidden[range].fill(true);
    }
    let mut hide = |length: usize, is_secret: &dyn Fn(&[u8]) -> bool| {
        for (start, window) in text.windows(length).enumerate() {
            if is_secret(window) {
                hidden[start..start + length].fill(true);
            }
        }
    };
    let (long, short): (Vec<&[u8]>, Vec<&[u8]>) = secrets
        .iter()
        .map(|secret| secret.as_bytes())
        .filter(|secret| !secret.is_empty())
        .partition(|secret| secret.len() >= PIECE);
    let pieces: HashSet<&[u8]> = long.iter().flat_map(|secret| secret.windows(PIECE)).collect();
    hide(PIECE, &|window| pieces.contains(window));
    for secret in short {
        hide(secret.len(), &|window| window == secret);
    }
    hidden
}

/// The character, or a space for what would move a cursor, reverse a line or show nothing.
fn printable(c: char) -> char {
    if is_shown(c) { c } else { ' ' }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CANARY: &str = "1//0gCANARY-refresh/token_with-many~characters";

    #[test]
    fn an_echoed_secret_is_taken_out() {
        assert_eq!(
            scrub(&format!("token {CANARY} is bad"), &[CANARY]),
            "token [redacted] is bad"
        );
        assert_eq!(scrub("key abc is bad", &["abc"]), "key [redacted] is bad");
        assert_eq!(scrub("nothing to hide", &["", CANARY]), "nothing to hide");
    }

    #[test]
    fn a_cut_or_encoded_echo_is_taken_out() {
        let cut = scrub(&format!("bad: {}", &CANARY[..20]), &[CANARY]);
        assert_eq!(cut, "bad: [redacted]");
        let encoded: String = url::form_urlencoded::byte_serialize(CANARY.as_bytes()).collect();
        let shown = scrub(&encoded, &[CANARY]);
        assert!(
            !shown.contains("CANARY") && !shown.contains("characters"),
            "{shown}"
        );
    }

    #[test]
    fn a_secret_that_nobody_named_is_taken_out_whole() {
        let old = "ya29.a0AfB_byAAAAAAAAAAAAAAAA";
        let shown = scrub(&format!("not {old}, {CANARY}"), &["AAAAAAAAAAAA", CANARY]);
        assert_eq!(shown, "not [redacted], [redacted]");
    }

    #[test]
    fn only_printable_characters_stay() {
        assert_eq!(scrub("a\u{1b}[2Jb\nc\u{202e}d", &[]), "a [2Jb c d");
        assert_eq!(
            scrub("Jeton expiré: \"là\" 期限切れ", &[]),
            "Jeton expiré: \"là\" 期限切れ"
        );
        for words in ["ผู้ใช้ถูกปิดใช้งาน", "उपयोगकर्ता अक्षम है", "Jeton expire\u{301}"]
        {
            assert_eq!(scrub(words, &[]), words);
        }
        assert_eq!(scrub(&"é".repeat(5000), &[]).chars().count(), 200);
    }

    proptest! {
        #[test]
        fn no_text_panics_or_shows_a_secret(before in ".{0,300}", after in ".{0,300}") {
            let shown = scrub(&format!("{before}{CANARY}{after}"), &[CANARY]);
            prop_assert!(shown.chars().count() <= 200);
            prop_assert!(!shown.contains("CANARY"));
        }
    }
}
