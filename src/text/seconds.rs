//! Numbers of seconds, as providers write them: the one reader for lives, and for moments as numbers (RFC 7519, section 2).

use serde_json::Value;

/// Digits that a number of seconds has at most; whatever is longer is no number but an attempt.
const MAX_LENGTH: usize = 64;

/// Whole seconds, rounded down: `3600`, `3600.0`, `3.6e3`, `"3599"` and `" 3599 "` alike. What no `i64` holds is the
/// nearest one that it does. `None` for anything that is no number.
pub(crate) fn read(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => parse(&number.to_string()),
        Value::String(text) => parse(text),
        _ => None,
    }
}

/// The same for a number as it is written.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(whole) = text.parse() {
        return Some(whole);
    }
    // Rust also reads `inf` and `NaN`.
    let numeric = |b: u8| b.is_ascii_digit() || b"+-.eE".contains(&b);
    let fits = (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(numeric);
    let number: f64 = fits.then(|| text.parse().ok())??;
    // A cast of a float that is too large gives the largest there is.
    #[expect(clippy::cast_possible_truncation, reason = "rounding down is what is wanted")]
    Some(number.floor() as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn one_number_is_written_in_many_ways() {
        for value in [
            json!(3599),
            json!(3599.0),
            json!(3599.9),
            json!("3599"),
            json!(" 3599\n"),
            json!("3599.0"),
            json!("3.599e3"),
            json!("+3599"),
        ] {
            assert_eq!(read(&value), Some(3599), "{value}");
        }
        assert_eq!(parse("3.6e3"), Some(3600));
        assert_eq!(parse("-0.5"), Some(-1), "rounded down, not towards nothing");
        assert_eq!(read(&json!(i64::MAX)), Some(i64::MAX));
    }

    #[test]
    fn what_is_too_large_is_bounded_and_what_is_no_number_is_none() {
        for huge in ["1e300", "1e999", "9223372036854775808", "18446744073709551615"] {
            assert_eq!(parse(huge), Some(i64::MAX), "{huge}");
        }
        assert_eq!(parse("-1e300"), Some(i64::MIN));
        assert_eq!(read(&json!(u64::MAX)), Some(i64::MAX));
        for odd in [
            "",
            " ",
            "NaN",
            "nan",
            "inf",
            "-infinity",
            "soon",
            "1h",
            "0x10",
            "1 2",
            "1,5",
            "--1",
            "e",
            ".",
        ] {
            assert_eq!(parse(odd), None, "{odd}");
        }
        assert_eq!(parse(&"1".repeat(MAX_LENGTH + 1)), None);
        for odd in [json!(null), json!(true), json!([3600]), json!({"s": 1})] {
            assert_eq!(read(&odd), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_are_kept_and_no_text_panics(number in any::<i64>(), text in ".{0,80}") {
            prop_assert_eq!(parse(&number.to_string()), Some(number));
            let _ = parse(&text);
        }
    }
}
