//! Whether an answer to a revocation is one.

use http::{HeaderMap, StatusCode, header};

/// True for the answer of a revocation endpoint that did it (RFC 7009, section 2.2): status 200, whose content means
/// nothing. Other successes are not in the standard, and a page for people is somebody else's in between, such as a captive
/// portal's.
pub(super) fn is_confirmed(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE);
    let media_type = media_type
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let body = body.trim_ascii();
    // Nothing is no page, whatever it is called.
    let is_page =
        body.starts_with(b"<") || !body.is_empty() && media_type.to_ascii_lowercase().contains("html");
    status == StatusCode::OK && !is_page
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn confirmed(status: u16, media_type: &'static str, body: &str) -> bool {
        let mut headers = HeaderMap::new();
        if !media_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        is_confirmed(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes())
    }

    #[test]
    fn only_a_revocation_endpoint_confirms() {
        for (media_type, body) in [
            ("application/json; charset=utf-8", "{}"),
            ("application/json", "\u{feff}{\n}\n"),
            ("", ""),
            ("text/plain", "OK"),
            ("text/html", ""),
        ] {
            assert!(confirmed(200, media_type, body), "{media_type} {body}");
        }
        for (status, media_type, body) in [
            (200, "text/html", "<html>Sign in to the network</html>"),
            (200, "TEXT/HTML; charset=utf-8", "Sign in"),
            (200, "", "\n <!doctype html>"),
            (204, "", ""),
            (201, "application/json", "{}"),
            (202, "application/json", "{}"),
            (206, "application/json", "{}"),
        ] {
            assert!(
                !confirmed(status, media_type, body),
                "{status} {media_type} {body}"
            );
        }
    }
}
