//! Which host a request names (RFC 9112, section 3.2).

use http::{HeaderMap, Request, Uri, Version, header, uri::Authority};

/// Why nobody can say which host a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// It names several.
    #[error("The request has several Host headers, and may have one.")]
    Several,
    /// It names something that is no host.
    #[error("The host that the request names cannot be read.")]
    Unreadable,
    /// It names none.
    #[error("The request names no host: a Host header is missing.")]
    None,
}

/// A request with several `Host` headers: one in front may have gone by another than this server would. Over HTTP/2 the
/// header is none of the protocol's.
pub(crate) fn is_given_twice<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    // Where no header is given twice, which is nearly always, none has to be looked up.
    request.version() < Version::HTTP_2
        && headers.len() > headers.keys_len()
        && headers.get_all(header::HOST).iter().nth(1).is_some()
}

/// The hosts that a request names: that of a target in absolute form, which goes before the header (RFC 9112, section
/// 3.2.2), and that of the header, since what is in front may go by either.
///
/// # Errors
/// Where it names none, or none that can be read.
pub fn named_hosts(version: Version, target: &Uri, headers: &HeaderMap) -> Result<Vec<Authority>, Unclear> {
    let mut given = headers.get_all(header::HOST).iter();
    let header = given.next().map(|host| Authority::try_from(host.as_bytes()));
    if given.next().is_some() {
        return Err(Unclear::Several);
    }
    let header = header.transpose().map_err(|_| Unclear::Unreadable)?;
    let target = target.authority().cloned();
    if header.is_none() && (target.is_none() || version >= Version::HTTP_11) {
        return Err(Unclear::None);
    }
    let named: Vec<Authority> = target.into_iter().chain(header).collect();
    // A name and password before the host have no place there.
    if named.iter().any(|authority| authority.as_str().contains('@')) {
        return Err(Unclear::Unreadable);
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(target: &str, version: Version, headers: &[&str]) -> Result<Vec<String>, Unclear> {
        let mut request = Request::get(target).version(version);
        for host in headers {
            request = request.header(header::HOST, *host);
        }
        let request = request.body(()).unwrap();
        assert_eq!(is_given_twice(&request), headers.len() > 1);
        let named = named_hosts(version, request.uri(), request.headers())?;
        Ok(named.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_target_and_the_header_name_a_host() {
        let asked = |target: &str, headers: &[&str]| hosts(target, Version::HTTP_11, headers);
        assert_eq!(asked("/x", &["a:1"]), Ok(vec!["a:1".to_owned()]));
        assert_eq!(
            asked("http://b/x", &["a"]),
            Ok(vec!["b".to_owned(), "a".to_owned()])
        );
        assert_eq!(asked("/x", &["a", "a"]), Err(Unclear::Several));
        assert_eq!(
            asked("http://b/x", &[]),
            Err(Unclear::None),
            "HTTP/1.1 has the header always"
        );
        assert_eq!(asked("/x", &[]), Err(Unclear::None));
        for odd in ["", "a b", "me@a", "[::1"] {
            assert_eq!(asked("/x", &[odd]), Err(Unclear::Unreadable), "{odd:?}");
        }
        assert_eq!(asked("http://me@b/x", &["b"]), Err(Unclear::Unreadable));
        assert_eq!(
            hosts("http://b/x", Version::HTTP_10, &[]),
            Ok(vec!["b".to_owned()])
        );
        assert_eq!(hosts("/x", Version::HTTP_10, &[]), Err(Unclear::None));
    }
}
