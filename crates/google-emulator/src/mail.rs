//! As much of an e-mail (RFC 5322) as a mailbox has to understand.

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;

/// A message as it was sent.
#[derive(Clone)]
pub(crate) struct Message {
    /// Unfolded, in their order.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) raw: Vec<u8>,
    pub(crate) received: Timestamp,
    /// Where the body starts in `raw`.
    body: usize,
}

impl Message {
    pub(crate) fn parse(raw: &[u8], received: Timestamp) -> Self {
        let body = body_start(raw);
        let head = String::from_utf8_lossy(&raw[..body]).into_owned();
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in head.lines() {
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = headers.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(':') {
                headers.push((name.trim().to_owned(), value.trim().to_owned()));
            }
        }
        Self {
            headers,
            raw: raw.to_owned(),
            received,
            body,
        }
    }

    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// Gmail fills in who sends, where the message does not say.
    pub(crate) fn fill_sender(&mut self, email: &str) {
        if self.header("from").is_none() {
            self.headers.insert(0, ("From".to_owned(), email.to_owned()));
        }
    }

    /// The addresses in `To`, `Cc` and `Bcc`.
    pub(crate) fn recipients(&self) -> Vec<String> {
        let lines = self.headers.iter().filter(|(name, _)| {
            ["to", "cc", "bcc"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
        });
        let entries = lines.flat_map(|(_, value)| value.split(','));
        let addresses = entries.map(|entry| match entry.rsplit_once('<') {
            Some((_, address)) => address.trim_end().trim_end_matches('>').trim(),
            None => entry.trim(),
        });
        addresses
            .filter(|address| address.contains('@'))
            .map(str::to_owned)
            .collect()
    }

    /// The type of the whole, without its parameters.
    pub(crate) fn mime_type(&self) -> &str {
        let kind = self.header("content-type").unwrap_or("text/plain");
        kind.split(';').next().unwrap_or(kind).trim()
    }

    /// The decoded body.
    pub(crate) fn body(&self) -> Vec<u8> {
        let body = &self.raw[self.body..];
        let encoding = self.header("content-transfer-encoding").unwrap_or_default();
        if encoding.eq_ignore_ascii_case("base64") {
            let packed: Vec<u8> = body
                .iter()
                .copied()
                .filter(|byte| !byte.is_ascii_whitespace())
                .collect();
            if let Ok(decoded) = BASE64_STANDARD.decode(packed) {
                return decoded;
            }
        }
        body.to_owned()
    }

    /// How the text begins.
    pub(crate) fn snippet(&self) -> String {
        let body = self.body();
        let text = String::from_utf8_lossy(&body);
        text.split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(120)
            .collect()
    }
}

/// The place after the first empty line.
fn body_start(raw: &[u8]) -> usize {
    let mut place = 0;
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        place += line.len();
        if matches!(line, b"\n" | b"\r\n") {
            break;
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Message {
        Message::parse(text.as_bytes(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn reads_folded_headers_and_recipients() {
        let mail = parse("To: Bob <bob@example.com>,\r\n carol@example.com\r\nSubject: Hi\r\n\r\nText\r\n");
        assert_eq!(mail.recipients(), ["bob@example.com", "carol@example.com"]);
        assert_eq!(mail.header("subject"), Some("Hi"));
        assert_eq!(mail.snippet(), "Text");
    }

    #[test]
    fn decodes_a_base64_body() {
        let mail = parse("Content-Transfer-Encoding: base64\nTo: a@b\n\nR3LD\nvMOfZQ==\n");
        assert_eq!(mail.snippet(), "Grüße");
    }

    #[test]
    fn odd_messages_do_no_harm() {
        assert!(parse("").recipients().is_empty());
        assert!(parse("To: nobody").recipients().is_empty());
        assert_eq!(parse("\n\nx").snippet(), "x");
    }
}
