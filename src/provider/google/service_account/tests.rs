//! Key files, good and bad, and what their keys sign.

use aws_lc_rs::{rsa::KeySize, signature::KeyPair};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    http_client::testing::pem,
    provider::{google::service_account::*, oauth::testing::key_file},
};

const ENDPOINT: &str = "https://oauth2.googleapis.com/token";

fn read(file: &Value) -> Result<ServiceAccountKey, InvalidKeyFile> {
    ServiceAccountKey::parse(&file.to_string(), ENDPOINT)
}

fn with(field: &str, value: impl Into<Value>) -> Value {
    let mut file = key_file(ENDPOINT);
    file[field] = value.into();
    file
}

fn refused(file: &Value) -> String {
    let text = file["private_key"].as_str().unwrap_or_default().to_owned();
    let error = read(file).err().unwrap().to_string();
    for line in text
        .lines()
        .filter(|line| line.len() > 20 && !line.starts_with("-----"))
    {
        assert!(!error.contains(&line[..20]), "{error}");
    }
    error
}

/// What the assertion says, if its key signed it.
fn claims(key: &ServiceAccountKey, assertion: &str) -> (jsonwebtoken::Header, Value) {
    let pair = key.key_pair().unwrap();
    let verifying = DecodingKey::from_rsa_der(pair.public_key().as_ref());
    let mut rules = Validation::new(Algorithm::RS256);
    rules.required_spec_claims.clear();
    (rules.validate_exp, rules.validate_aud) = (false, false);
    let data = jsonwebtoken::decode::<Value>(assertion, &verifying, &rules).unwrap();
    (data.header, data.claims)
}

#[test]
fn what_is_kept_reads_back_and_signs() {
    let key = read(&key_file(ENDPOINT)).ok().unwrap();
    let kept = key.to_json();
    let key = ServiceAccountKey::parse(std::str::from_utf8(&kept).unwrap(), ENDPOINT)
        .ok()
        .unwrap();
    let scopes = ScopeSet::parse("https://b.example https://a.example").unwrap();
    let now: Timestamp = "2024-01-15T10:30:00Z".parse().unwrap();
    let assertion = key.assertion(None, &scopes, now).unwrap();
    let (header, said) = claims(&key, &assertion);
    assert_eq!(header.kid.as_deref(), Some("0123abcd"));
    let iat = now.as_second();
    let expected = json!({
        "iss": "robot@project.iam.gserviceaccount.com", "scope": "https://a.example https://b.example",
        "aud": ENDPOINT, "iat": iat, "exp": iat + 3600,
    });
    assert_eq!(said, expected);
    let assertion = key.assertion(Some("alice@example.com"), &scopes, now).unwrap();
    assert_eq!(claims(&key, &assertion).1["sub"], "alice@example.com");
    let elsewhere = "http://127.0.0.1:9005/token";
    let key = ServiceAccountKey::parse(&key_file(elsewhere).to_string(), elsewhere)
        .ok()
        .unwrap();
    let assertion = key.assertion(None, &scopes, now).unwrap();
    assert_eq!(claims(&key, &assertion).1["aud"], ENDPOINT);
}

#[test]
fn what_is_kept_is_written_without_growing() {
    let key = read(&key_file(ENDPOINT)).ok().unwrap();
    let room = 2 * key.private_key.expose().len() + 1024;
    assert_eq!(key.to_json().capacity(), room);
}

#[test]
fn both_forms_of_an_rsa_key_are_read() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = aws_lc_rs::encoding::AsDer::as_der(&pair).unwrap();
    // PKCS #8 wraps PKCS #1: a sequence of version, algorithm and an octet string with the key.
    let pkcs1 = &pkcs8.as_ref()[26..];
    assert!(read(&with("private_key", pem("RSA PRIVATE KEY", pkcs1))).is_ok());
    assert!(read(&with("private_key", pem("PRIVATE KEY", pkcs8.as_ref()))).is_ok());
    // Mislabelled, it is neither.
    assert!(read(&with("private_key", pem("RSA PRIVATE KEY", pkcs8.as_ref()))).is_err());
}

#[test]
fn files_of_all_times_are_read() {
    let whole = key_file(ENDPOINT);
    let text = whole["private_key"].as_str().unwrap();
    for file in [
        with("token_uri", "https://accounts.google.com/o/oauth2/token"),
        with("token_uri", "https://www.googleapis.com/oauth2/v3/token"),
        with("token_uri", "https://www.googleapis.com/oauth2/v4/token"),
        with("token_uri", Value::Null),
        with("client_id", Value::Null),
        with("client_id", 104),
        with("client_id", json!({})),
        with("private_key", text.replace('\n', "\\n")),
        with("private_key", text.replace('\n', " ")),
        with("private_key", format!("\"{text}\"")),
    ] {
        let key = read(&file).unwrap_or_else(|error| panic!("{error}"));
        let kept = key.to_json();
        let kept = std::str::from_utf8(&kept).unwrap();
        let key = ServiceAccountKey::parse(kept, ENDPOINT).ok().unwrap();
        let assertion = key
            .assertion(None, &ScopeSet::default(), Timestamp::UNIX_EPOCH)
            .unwrap();
        assert_eq!(claims(&key, &assertion).1["aud"], ENDPOINT);
        // What was taken for Google's does not go anywhere else.
        assert!(ServiceAccountKey::parse(kept, "http://127.0.0.1:9005/token").is_err());
    }
    assert_eq!(read(&with("client_id", 104)).ok().unwrap().client_id, "104");
    let marked = format!("\u{feff}{whole}");
    assert!(ServiceAccountKey::parse(&marked, ENDPOINT).is_ok());
    let nameless = ServiceAccountKey::parse(
        &with("token_uri", Value::Null).to_string(),
        "http://127.0.0.1:9005/token",
    );
    let refused = nameless.err().unwrap().to_string();
    assert!(
        refused.contains("not there, which means Google's, but this daemon sends"),
        "{refused}"
    );
}

#[test]
fn a_file_that_is_no_key_is_told_what_is_wrong_with_it() {
    let whole = key_file(ENDPOINT)["private_key"].as_str().unwrap().to_owned();
    for (file, words) in [
        (
            with("type", "authorized_user"),
            "`token-broker integrations import` takes",
        ),
        (
            with("type", "external_account"),
            "is `external_account`, not `service_account`",
        ),
        (with("type", ""), "it has no `type`"),
        (with("client_email", ""), "it has no `client_email`"),
        (with("client_email", "robot"), "its `client_email` is not"),
        (with("client_email", "robot@x\nB=1"), "its `client_email` is not"),
        (with("private_key_id", "a b"), "its `private_key_id` is not"),
        (with("client_id", "1 2"), "its `client_id` is not"),
        (with("private_key", ""), "it has no `private_key`"),
        (
            with("private_key", &whole[..whole.len() / 2]),
            "cut off or was changed",
        ),
        (
            with("private_key", whole.replacen('M', "N", 1)),
            "cut off or was changed",
        ),
        (with("private_key", 5), "cut off or was changed"),
        (with("private_key", json!({})), "its `private_key` is not a text"),
        (
            with("client_email", json!([])),
            "its `client_email` is not a text",
        ),
        (with("token_uri", true), "its `token_uri` is not a text"),
        (with("type", json!({})), "its `type` is not a text"),
        (
            with("private_key", pem("EC PRIVATE KEY", b"x")),
            "an elliptic-curve key",
        ),
        (
            with("token_uri", "https://evil.example/token"),
            "`https://evil.example/token`, but this daemon",
        ),
        (json!("text"), "of the wrong type"),
        (json!({}), "it has no `type`"),
    ] {
        let error = refused(&file);
        assert!(error.contains(words), "{words}: {error}");
    }
    let long = format!("{}{}", key_file(ENDPOINT), " ".repeat(MAX_FILE));
    let cut = &key_file(ENDPOINT).to_string()[..100];
    for (text, words) in [
        (long.as_str(), "longer than"),
        (cut, "cut off"),
        ("", "cut off"),
        ("-----BEGIN", "broken"),
    ] {
        let error = ServiceAccountKey::parse(text, ENDPOINT)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,300}") {
        let _ = ServiceAccountKey::parse(&text, ENDPOINT);
    }
}

#[test]
fn a_key_that_is_too_short_is_told_from_one_that_is_damaged() {
    // 1024 bits, which nothing else uses.
    const SHORT: &str = concat!(
        "MIICdgIBADANBgkqhkiG9w0BAQEFAASCAmAwggJcAgEAAoGBAKf7LDHe8YTveiNrbCoyCnQbVt9FZjurXiGbVbDlapfdjPT+oNxN",
        "19aVrWHibFLhZUhi8FHfgMCcLwUmrlS/ppe2BXdSiKKae70LxBDBYEMoHPvYjdpGQmO5ccYjOTLFvlJ1sYtSwC1fCDspMIE0oTFc",
        "4TSc1soEInFuCXmVMh5RAgMBAAECgYBURW/AfSYRGMrfZg7XhE82PFjynbBSEwCgP3tXyWAWW/FRH0S4AN1dK63Vw2+wjJ7xF6GU",
        "kVnYRwJXxTYEEjmSZjQH13G+AGwxlSQ49MRG2uR8ltQaeHK6HK+PiIr9dWxrfljfz++Gvw50jbfYVco5o8Z+0XC6gz8+o4oWW0aG",
        "IQJBANvbcwTPCt7DfZt5YZoeSz2FqfjoMaw7tRIHUQruoZfSh0SFSRCXoK6tBwpQnheyO+zvapT89P7GZSbvmD/AAcUCQQDDmI05",
        "HCQmt+e5AJaiWbhC9LKp1oQEXOdvyunD0hyxMzf6Js6f6U2tV2QtOsDrDLUDTuDYX4o1sv3J+/NDT+8dAkAJ0NxrxIqps3SyMlMn",
        "PF8DmioikMtW8zt8WJNHt6vDSYT8jC7c7MghxFviHANS74Q5ad8KU9jkXxs5B812Wy45AkEAlsZGvqpRt8L2DidE9ttAbeSgwMkK",
        "tS5EfWmmb3vNAE+iK+O0TZKTfTarky4CPm5qLqWkL0bejGxwtD3SlKXOhQJALtCz1guQWyJzFPOeWl1GS6SQyC3tUnzGLtf/ZnvA",
        "xRIxHMS6GfM+4TkxuG8UugV/lqvRI8/Y4sl/g2mA/vPGJg==",
    );
    let pem = |body: &str| format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    let said = |body: &str| refused(&with("private_key", pem(body)));
    assert!(
        said(SHORT).contains("less than 2048 bits, which is too short"),
        "{}",
        said(SHORT)
    );
    assert!(said(&SHORT[..400]).contains("cut off or was changed"));
}
