//! Signed JSON in its compact form (RFC 7515, section 7.1): id tokens and security events. RS256 is the only algorithm,
//! whatever a header says.

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::Value;

use crate::text::without_bom;

const ALGORITHM: &str = "RS256";

/// With `=` at the end or without: it says nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a text is not what it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// It is not of the form.
    Form,
    /// It is not signed at all.
    Unsigned,
    /// It is signed in another way than with RS256.
    Algorithm,
    /// It demands an extension that is not understood.
    Critical,
    /// It does not name its key.
    NoKey,
}

/// A signed text, as it says itself.
pub(crate) struct Jws<'a> {
    /// The key that signed it.
    pub(crate) key_id: String,
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Jws<'a> {
    /// Takes a text apart. Nothing of it is proven yet.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Malformed> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Malformed::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(Malformed::Form)?;
        let header = decoded(header).ok_or(Malformed::Form)?;
        if payload.contains('.') || !header.is_object() {
            return Err(Malformed::Form);
        }
        match header["alg"].as_str() {
            Some(ALGORITHM) => {}
            Some(other) if !other.eq_ignore_ascii_case("none") => return Err(Malformed::Algorithm),
            _ => return Err(Malformed::Unsigned),
        }
        if !header["crit"].is_null() {
            return Err(Malformed::Critical);
        }
        let key_id = name(&header["kid"]).ok_or(Malformed::NoKey)?;
        Ok(Self {
            key_id,
            signed,
            payload,
            signature,
        })
    }

    /// Whether one of `keys` signed it.
    pub(crate) fn is_signed_by(&self, keys: &[DecodingKey]) -> bool {
        let (signature, signed) = (self.signature.trim_end_matches('='), self.signed.as_bytes());
        let did = |key| crypto::verify(signature, signed, key, Algorithm::RS256).unwrap_or_default();
        keys.iter().any(did)
    }

    /// What it says.
    pub(crate) fn claims(&self) -> Option<Value> {
        decoded(self.payload).filter(Value::is_object)
    }
}

/// The name of a key. Some servers number theirs.
pub(crate) fn name(kid: &Value) -> Option<String> {
    match kid {
        Value::String(name) => Some(name.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn decoded(part: &str) -> Option<Value> {
    let json = BASE64.decode(part).ok()?;
    serde_json::from_slice(without_bom(&json)).ok()
}

/// Bytes of a key as JWKs write them (RFC 7518, section 6.3.1): some servers add zeros before them, and `=` after.
pub(crate) fn unsigned_integer(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(text.trim()).ok()?;
    let start = bytes.iter().position(|&b| b != 0)?;
    Some(bytes[start..].to_vec())
}

/// Google's issuer is written with a slash at the end and without, with the scheme and without.
pub(crate) fn same_issuer(a: &str, b: &str) -> bool {
    let bare = |text: &str| {
        let text = text.strip_prefix("https://").unwrap_or(text);
        text.strip_suffix('/').unwrap_or(text).to_owned()
    };
    bare(a) == bare(b)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::oauth::testing::{Signer, unsigned};

    #[test]
    fn a_byte_order_mark_and_padding_do_not_matter() {
        let text = |json: &Value| format!("\u{feff}{json}");
        let header = json!({"alg": "RS256", "kid": "one"});
        let claims = json!({"sub": "1098", "x": 1});
        let signed = Signer::one().sign_texts(&text(&header), &text(&claims));
        let jws = Jws::parse(&signed).ok().unwrap();
        assert!(jws.is_signed_by(&[Signer::one().verifying_key()]));
        assert!(!jws.is_signed_by(&[Signer::other().verifying_key()]));
        assert_eq!(jws.claims(), Some(claims));
        let padded = format!("{signed}==");
        assert!(
            Jws::parse(&padded)
                .ok()
                .unwrap()
                .is_signed_by(&[Signer::one().verifying_key()])
        );
    }

    #[test]
    fn what_is_no_signed_text_is_told() {
        let parse = |text: &str| Jws::parse(text).err();
        for odd in [
            "",
            "a",
            "a.b",
            "a.b.c",
            "a.b.c.d",
            "....",
            "e30",
            "bnVsbA.e30.",
            "IiI.e30.",
        ] {
            assert_eq!(parse(odd), Some(Malformed::Form), "{odd}");
        }
        for (header, expected) in [
            (json!({"alg": "None", "kid": "one"}), Malformed::Unsigned),
            (json!({"alg": ["RS256"], "kid": "one"}), Malformed::Unsigned),
            (json!({"kid": "one"}), Malformed::Unsigned),
            (json!({"alg": "rs256", "kid": "one"}), Malformed::Algorithm),
            (json!({"alg": "HS256", "kid": "one"}), Malformed::Algorithm),
            (
                json!({"alg": "RS256", "kid": "one", "crit": []}),
                Malformed::Critical,
            ),
            (json!({"alg": "RS256"}), Malformed::NoKey),
            (json!({"alg": "RS256", "kid": [1]}), Malformed::NoKey),
        ] {
            assert_eq!(parse(&unsigned(&header, &json!({}))), Some(expected), "{header}");
        }
    }

    #[test]
    fn a_number_has_no_zeros_before_it() {
        assert_eq!(unsigned_integer("AAEAAQ"), Some(vec![1, 0, 1]));
        assert_eq!(unsigned_integer("AQAB"), Some(vec![1, 0, 1]));
        assert_eq!(unsigned_integer("AQ=="), Some(vec![1]));
        for odd in ["", "AA", "!", "A"] {
            assert_eq!(unsigned_integer(odd), None, "{odd}");
        }
    }
}
