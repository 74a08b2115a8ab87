//! Private keys in PEM (RFC 7468), as they come out of people's tools: with the line ends of a JSON file as two characters,
//! with spaces for them, in quotes.

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
/// Characters of a line.
const WIDTH: usize = 64;
/// How an algorithm is named inside of PKCS #8, and what it is.
const OTHERS: [(&[u8], &str); 2] = [
    (b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01", "an elliptic-curve key"),
    (b"\x06\x03\x2b\x65\x70", "an Ed25519 key"),
];

/// Why a text is no RSA key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotRsa {
    /// It was cut off or changed.
    Damaged,
    /// It is something else.
    Is(&'static str),
}

/// A key that has one meaning only, in the form that readers of PEM take.
pub(crate) fn mended(text: &str) -> Result<Zeroizing<String>, NotRsa> {
    let (label, rest) = text
        .split_once(BEGIN)
        .ok_or(NotRsa::Damaged)?
        .1
        .split_once(DASHES)
        .ok_or(NotRsa::Damaged)?;
    kind(label)?;
    let (body, end) = rest.split_once(END).ok_or(NotRsa::Damaged)?;
    if end.split_once(DASHES).is_none_or(|(closed, _)| closed != label) {
        return Err(NotRsa::Damaged);
    }
    if body.contains("ENCRYPTED") {
        return Err(NotRsa::Is("encrypted with a password"));
    }
    // Room for all of it: growing would leave copies behind.
    let room = body.len() + body.len() / WIDTH + 2 * (label.len() + BEGIN.len() + DASHES.len()) + 8;
    let mut pem = Zeroizing::new(String::with_capacity(room));
    for part in [BEGIN, label, DASHES] {
        pem.push_str(part);
    }
    let mut column = WIDTH;
    let mut rest = body.chars();
    while let Some(c) = rest.next() {
        let escaped = c == '\\' && rest.clone().next().is_some_and(|next| "nr\\".contains(next));
        if escaped {
            // Of a backslash before a backslash, the second says the same.
            if !rest.as_str().starts_with('\\') {
                rest.next();
            }
            continue;
        }
        if c.is_whitespace() || matches!(c, '"' | '\'') {
            continue;
        }
        if column == WIDTH {
            pem.push('\n');
            column = 0;
        }
        pem.push(c);
        column += 1;
    }
    for part in ["\n", END, label, DASHES, "\n"] {
        pem.push_str(part);
    }
    other_algorithm(&pem)?;
    Ok(pem)
}

/// Whether a label is that of a key that can be of use.
fn kind(label: &str) -> Result<(), NotRsa> {
    Err(NotRsa::Is(match label {
        "PRIVATE KEY" | "RSA PRIVATE KEY" => return Ok(()),
        "EC PRIVATE KEY" => "an elliptic-curve key",
        "ENCRYPTED PRIVATE KEY" => "encrypted with a password",
        "OPENSSH PRIVATE KEY" => "a key of OpenSSH's",
        "PUBLIC KEY" | "RSA PUBLIC KEY" => "a public key",
        "CERTIFICATE" => "a certificate",
        _ => return Err(NotRsa::Damaged),
    }))
}

/// Tells keys of other algorithms, which have the same label.
fn other_algorithm(pem: &str) -> Result<(), NotRsa> {
    // The algorithm stands within the first bytes; a key's own numbers come behind.
    let start: String = pem.lines().skip(1).take(1).collect();
    let start = Zeroizing::new(BASE64_STANDARD.decode(start.as_bytes()).unwrap_or_default());
    let head = &start[..start.len().min(24)];
    for (name, what) in OTHERS {
        if head.windows(name.len()).any(|bytes| bytes == name) {
            return Err(NotRsa::Is(what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use aws_lc_rs::{
        encoding::{AsDer, Pkcs8V1Der},
        rsa::KeySize,
        signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair},
    };
    use proptest::prelude::*;

    use super::*;
    use crate::http_client::testing::pem;

    /// One key for all tests: making one takes long.
    fn whole() -> String {
        static KEY: LazyLock<String> = LazyLock::new(|| {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
            let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
            pem("PRIVATE KEY", der.as_ref())
        });
        KEY.clone()
    }

    #[test]
    fn what_has_one_meaning_is_mended() {
        let whole = whole();
        let lines = |end: &str| whole.trim_end().replace('\n', end);
        let good = mended(&whole).unwrap();
        for text in [
            lines("\r\n"),
            lines("\\n"),
            lines("\\\\n"),
            lines("\\r\\n"),
            lines(" "),
            lines(""),
            lines("\n\n"),
            format!("\"{}\"", lines("\\n")),
            format!("'{whole}'"),
            format!("\u{feff}  {whole}\n\n"),
        ] {
            assert!(mended(&text).is_ok_and(|text| *text == *good), "{text}");
        }
        assert!(good.lines().all(|line| line.len() <= WIDTH));
    }

    #[test]
    fn what_is_something_else_is_named() {
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let ec = ec.to_pkcs8v1().unwrap();
        let ed = Ed25519KeyPair::generate().unwrap();
        let ed = ed.to_pkcs8v1().unwrap();
        for (text, what) in [
            (pem("PRIVATE KEY", ec.as_ref()), "an elliptic-curve key"),
            (pem("EC PRIVATE KEY", b"x"), "an elliptic-curve key"),
            (pem("PRIVATE KEY", ed.as_ref()), "an Ed25519 key"),
            (pem("ENCRYPTED PRIVATE KEY", b"x"), "encrypted with a password"),
            (pem("PUBLIC KEY", b"x"), "a public key"),
            (pem("CERTIFICATE", b"x"), "a certificate"),
        ] {
            assert_eq!(mended(&text).err(), Some(NotRsa::Is(what)), "{text}");
        }
        let whole = whole();
        for text in [
            "",
            "key",
            "-----BEGIN PRIVATE KEY-----",
            &whole[..whole.len() / 2],
            &whole[..whole.len() - 8],
        ] {
            assert_eq!(mended(text).err(), Some(NotRsa::Damaged), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = mended(&text);
            let _ = mended(&format!("{BEGIN}PRIVATE KEY{DASHES}{text}{END}PRIVATE KEY{DASHES}"));
        }
    }
}
