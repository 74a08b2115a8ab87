//! Whether an answer to a revocation is one.

use http::StatusCode;
use serde::de::IgnoredAny;

use crate::text::without_bom;

/// True for the answer of a revocation endpoint that did it (RFC 7009, section 2.2): status 200, and nothing beside it or
/// JSON. Other successes are not in the standard, and any other text is somebody else's in between, such as a captive portal.
pub(super) fn is_confirmed(status: StatusCode, body: &[u8]) -> bool {
    let body = without_bom(body).trim_ascii();
    let is_json = || serde_json::from_slice::<IgnoredAny>(body).is_ok();
    status == StatusCode::OK && (body.is_empty() || is_json())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmed(status: u16, body: &str) -> bool {
        is_confirmed(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn only_a_revocation_endpoint_confirms() {
        for body in ["{}", "\u{feff}{\n}\n", "", " \r\n", "{\"revoked\": true}", "null"] {
            assert!(confirmed(200, body), "{body}");
        }
        for (status, body) in [
            (200, "<html>Sign in to the network</html>"),
            (200, "\n <!doctype html>"),
            (200, "Sign in"),
            (200, "OK"),
            (200, "success=true"),
            (200, "{"),
            (200, "{}<script>"),
            (204, ""),
            (201, "{}"),
            (202, "{}"),
            (206, "{}"),
        ] {
            assert!(!confirmed(status, body), "{status} {body}");
        }
    }
}
