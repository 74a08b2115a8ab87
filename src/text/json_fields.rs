//! The fields of a JSON object, each read by itself: one that cannot be read costs no other, and an answer that breaks
//! off gives those that came before.

use std::borrow::Cow;

use serde_json::Value;
use zeroize::Zeroizing;

/// The fields of an object in what a provider sent. No `Debug`: it holds secrets.
pub(crate) struct Fields<'a> {
    found: Vec<(Cow<'a, str>, &'a [u8])>,
    whole: bool,
}

impl<'a> Fields<'a> {
    /// Finds the first object in `body` and reads it as far as it goes. What stands around it (a byte order mark, the
    /// remains of a chunk, a second object) does not matter. `None` where no object begins.
    pub(crate) fn read(body: &'a [u8]) -> Option<Self> {
        let start = body.iter().position(|&b| b == b'{')?;
        let mut scanner = Scanner {
            text: &body[start + 1..],
        };
        let mut found = Vec::new();
        loop {
            scanner.skip(|b| b.is_ascii_whitespace() || b == b',');
            if scanner.take(b'}') {
                return Some(Self { found, whole: true });
            }
            let Some(field) = scanner.field() else {
                return Some(Self { found, whole: false });
            };
            found.push(field);
        }
    }

    /// The object ends: nothing of it is missing.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// A field as it is written; the last, where there are several. `null` is as good as none.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a [u8]> {
        let (_, raw) = self.found.iter().rfind(|(key, _)| key == name)?;
        (*raw != b"null").then_some(raw)
    }

    /// A field's value. `None` where there is none, and where it cannot be read.
    pub(crate) fn value(&self, name: &str) -> Option<Value> {
        serde_json::from_slice(self.raw(name)?).ok()
    }

    /// A field that is a text, without the white space around it; `None` for an empty one, and for one of another type.
    pub(crate) fn text(&self, name: &str) -> Option<Zeroizing<String>> {
        self.texts(name).next_back()
    }

    /// A field that is a whole number without a sign, as it is written.
    pub(crate) fn digits(&self, name: &str) -> Option<Zeroizing<String>> {
        let raw = self.raw(name)?;
        let written = std::str::from_utf8(raw).ok()?;
        raw.iter()
            .all(u8::is_ascii_digit)
            .then(|| Zeroizing::new(written.to_owned()))
    }

    /// All texts of this name: an object may have several.
    pub(crate) fn texts(&self, name: &str) -> impl DoubleEndedIterator<Item = Zeroizing<String>> {
        let of_name = self.found.iter().filter(move |(key, _)| key == name);
        of_name.filter_map(|(_, raw)| text(raw))
    }
}

/// The text that is written so, without the white space around it; `None` for an empty one.
fn text(raw: &[u8]) -> Option<Zeroizing<String>> {
    // Bytes that are no UTF-8 do not make the rest of a sentence unreadable.
    let written = Zeroizing::new(String::from_utf8_lossy(raw).into_owned());
    let text: Zeroizing<String> = Zeroizing::new(serde_json::from_str(&written).ok()?);
    let bare = text.trim();
    if bare.len() == text.len() {
        return (!text.is_empty()).then_some(text);
    }
    (!bare.is_empty()).then(|| Zeroizing::new(bare.to_owned()))
}

/// Walks over JSON without keeping any of it.
struct Scanner<'a> {
    text: &'a [u8],
}

impl<'a> Scanner<'a> {
    fn skip(&mut self, skipped: impl Fn(u8) -> bool) {
        let kept = self.text.iter().position(|&b| !skipped(b));
        self.text = &self.text[kept.unwrap_or(self.text.len())..];
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.text.first() == Some(&byte);
        if there {
            self.text = &self.text[1..];
        }
        there
    }

    /// What is at the front, up to `end`.
    fn cut(&mut self, end: usize) -> &'a [u8] {
        let (front, rest) = self.text.split_at(end);
        self.text = rest;
        front
    }

    /// A name and what it stands for; `None` where either is cut off, or something else is there.
    fn field(&mut self) -> Option<(Cow<'a, str>, &'a [u8])> {
        let name = self.string()?;
        let name = match std::str::from_utf8(&name[1..name.len() - 1]) {
            Ok(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
            _ => Cow::Owned(serde_json::from_slice(name).unwrap_or_default()),
        };
        self.skip(|b| b.is_ascii_whitespace());
        if !self.take(b':') {
            return None;
        }
        self.skip(|b| b.is_ascii_whitespace());
        Some((name, self.anything()?))
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let end = end_of_string(self.text)?;
        Some(self.cut(end))
    }

    /// A value of any kind.
    fn anything(&mut self) -> Option<&'a [u8]> {
        match self.text.first()? {
            b'"' => self.string(),
            b'{' | b'[' => {
                let end = end_of_nest(self.text)?;
                Some(self.cut(end))
            }
            _ => {
                // A number or a word ends where something else begins; at the end of the text it may be cut off.
                let ends = |b: &u8| b.is_ascii_whitespace() || b",}]".contains(b);
                let end = self.text.iter().position(ends)?;
                (end > 0).then(|| self.cut(end))
            }
        }
    }
}

/// Behind the string that `text` begins with.
fn end_of_string(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'"') {
        return None;
    }
    let mut escaped = false;
    for (at, &byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Behind the object or list that `text` begins with.
fn end_of_nest(text: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                at += end_of_string(&text[at..])?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(body: &str, name: &str) -> Option<String> {
        Fields::read(body.as_bytes())?
            .text(name)
            .map(|text| text.to_string())
    }

    #[test]
    fn one_bad_field_costs_no_other() {
        let body =
            r#"{"a": NaN, "b": 1e999, "c": undefined, "d": {"x": [1, "}"]}, "e": "\ud800", "token": "t"}"#;
        assert_eq!(text(body, "token").as_deref(), Some("t"));
        let fields = Fields::read(body.as_bytes()).unwrap();
        assert!(fields.is_whole());
        for odd in ["a", "b", "c", "e"] {
            assert_eq!(fields.value(odd), None, "{odd}");
        }
        assert_eq!(fields.value("d"), Some(json!({"x": [1, "}"]})));
        let deep = format!(
            r#"{{"deep": {}1{}, "token": "t"}}"#,
            "[".repeat(9000),
            "]".repeat(9000)
        );
        assert_eq!(text(&deep, "token").as_deref(), Some("t"));
    }

    #[test]
    fn what_came_before_the_end_is_there() {
        let body = r#"{"token": "t", "scope": "a b"}"#;
        let reads = |end: usize| (text(&body[..end], "token"), text(&body[..end], "scope"));
        for end in 0..body.len() {
            let fields = Fields::read(&body.as_bytes()[..end]);
            assert!(!fields.is_some_and(|fields| fields.is_whole()), "{end}");
        }
        assert_eq!(reads(12), (None, None));
        assert_eq!(reads(13), (Some("t".into()), None));
        assert_eq!(reads(body.len()), (Some("t".into()), Some("a b".into())));
        assert!(
            Fields::read(br#"{"n": 35"#).unwrap().raw("n").is_none(),
            "35 may have been 3599"
        );
    }

    #[test]
    fn what_stands_around_an_object_does_not_matter() {
        for body in [
            "\u{feff}{\"token\":\"t\"}",
            "{\"token\":\"t\"}\0\0",
            "{\"token\":\"t\"}{\"token\":\"u\"}",
            "10\r\n{\"token\":\"t\"}\r\n0\r\n",
            ")]}'\n{\"token\":\"t\"}",
            "{\"token\":\"t\",}",
        ] {
            assert_eq!(text(body, "token").as_deref(), Some("t"), "{body:?}");
        }
        for body in ["", "token", "[]", "\"{", "null"] {
            assert_eq!(text(body, "token"), None, "{body}");
        }
    }

    #[test]
    fn the_last_of_several_that_says_something_counts() {
        assert_eq!(text(r#"{"t":"a","t":"b"}"#, "t").as_deref(), Some("b"));
        assert_eq!(text(r#"{"t":"a","t":""}"#, "t").as_deref(), Some("a"));
        assert_eq!(text(r#"{"t":"a","t":7}"#, "t").as_deref(), Some("a"));
        assert_eq!(text(r#"{"\u0074": " a\n"}"#, "t").as_deref(), Some("a"));
        assert_eq!(text(r#"{"x": {"t": "inner"}}"#, "t"), None);
        assert_eq!(text(r#"{"t": null}"#, "t"), None);
    }

    #[test]
    fn bytes_that_are_no_text_stay_in_their_field() {
        let body = b"{\"words\": \"caf\xe9\", \"token\": \"t\"}";
        let fields = Fields::read(body).unwrap();
        assert_eq!(fields.text("token").unwrap().as_str(), "t");
        assert_eq!(fields.text("words").unwrap().as_str(), "caf\u{fffd}");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(fields) = Fields::read(&body) {
                let _ = (fields.text("a"), fields.value("a"));
            }
        }

        #[test]
        fn json_is_read_as_others_read_it(name in "[a-z]{1,4}", value in ".{0,20}", more in any::<i64>()) {
            let json = json!({name.clone(): value, "zz_more": [more, {"x": value}]});
            let body = json.to_string();
            let fields = Fields::read(body.as_bytes()).unwrap();
            prop_assert!(fields.is_whole());
            prop_assert_eq!(fields.value(&name), Some(json[&name].clone()));
            prop_assert_eq!(fields.value("zz_more"), Some(json["zz_more"].clone()));
        }
    }
}
