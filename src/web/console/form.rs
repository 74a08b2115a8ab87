//! What a form sent, and whether a page of this session sent it.

use axum::{
    Form,
    body::Body,
    extract::{FromRequest, Multipart, Query, Request},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, header, request::Parts};

use crate::web::body::read;

/// The largest form; a service account's key file takes 2.4 KB.
const MOST_BYTES: usize = 64 * 1024;
/// The most fields of one form.
const MOST_FIELDS: usize = 200;
/// The field that says which session's page sent the form.
pub(super) const TOKEN_FIELD: &str = "form_token";

/// Names and values.
type Pairs = Vec<(String, String)>;

/// The fields of a form, in order.
#[derive(Clone)]
pub(super) struct Fields(Pairs);

impl Fields {
    /// Reads it, whichever of the two ways a browser sent it in. `None` when it is too large, breaks off, or is
    /// no form.
    pub(super) async fn read(headers: &HeaderMap, body: Body) -> Option<Self> {
        let media_type = headers.get(header::CONTENT_TYPE)?;
        Self::of_body(media_type, &read(body, MOST_BYTES).await?).await
    }

    async fn of_body(media_type: &HeaderValue, body: &Bytes) -> Option<Self> {
        let sent = || {
            let mut sent = Request::new(Body::from(body.clone()));
            *sent.method_mut() = Method::POST;
            sent.headers_mut()
                .insert(header::CONTENT_TYPE, media_type.clone());
            sent
        };
        let fields = match Option::<Multipart>::from_request(sent(), &()).await.ok()? {
            Some(parts) => in_parts(parts).await?,
            None => first(Form::from_request(sent(), &()).await.ok()?.0),
        };
        Some(Self(fields))
    }

    /// A query, read as the form that made it.
    pub(super) fn of_query(address: &Uri) -> Self {
        Self(
            Query::try_from_uri(address)
                .map(|query| first(query.0))
                .unwrap_or_default(),
        )
    }

    /// The first field of this name, without the spaces around it; empty when there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.trim()).unwrap_or_default()
    }

    /// Every field of this name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| value.trim())
    }

    /// Takes a field out, so that no copy stays behind.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.swap_remove(at).1)
    }
}

/// As many as a form may have.
fn first(mut fields: Pairs) -> Pairs {
    fields.truncate(MOST_FIELDS);
    fields
}

async fn in_parts(mut parts: Multipart) -> Option<Pairs> {
    let mut fields = Vec::new();
    while let Some(part) = parts.next_field().await.ok()? {
        if fields.len() == MOST_FIELDS {
            return None;
        }
        let name = part.name()?.to_owned();
        fields.push((name, part.text().await.ok()?));
    }
    Some(fields)
}

/// True when a page of this very origin sent the request, by what every current browser says of it. A request that says
/// nothing comes from no browser, and from no page of somebody else's.
pub(super) fn is_of_own_page(request: &Parts, own_origin: &str) -> bool {
    let value = |name: &str| {
        request
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    let site = value("sec-fetch-site").is_none_or(|site| site == "same-origin");
    // The proxy in front may change the host, and a person may say `localhost` for 127.0.0.1.
    let origin = value("origin").is_none_or(|origin| {
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        origin == own_origin || (!host.is_empty() && value("host") == Some(host))
    });
    site && origin
}

/// The body of a form, its media type on the first line.
#[cfg(fuzzing)]
pub(in crate::web) fn fuzz(bytes: &[u8]) {
    use futures_util::FutureExt;

    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let Ok(media_type) = HeaderValue::from_bytes(lines.next().unwrap_or_default()) else {
        return;
    };
    let body = Bytes::copy_from_slice(lines.next().unwrap_or_default());
    let form = Fields::of_body(&media_type, &body).now_or_never();
    let form = form.expect("the whole body is there, so nothing is waited for");
    assert!(form.is_none_or(|form| form.0.len() <= MOST_FIELDS));
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    async fn form(media_type: &str, body: impl Into<Body>) -> Option<Fields> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, media_type.parse().unwrap());
        Fields::read(&headers, body.into()).await
    }

    #[tokio::test]
    async fn both_kinds_of_forms_are_read() {
        let form_one = form("application/x-www-form-urlencoded", "a=1&b=%20x+y%20&a=2").await;
        let form_one = form_one.unwrap();
        assert_eq!(form_one.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(form_one.get("b"), "x y");
        assert_eq!(form_one.get("c"), "");

        let parts = "--x\r\nContent-Disposition: form-data; name=\"key\"; filename=\"k.json\"\r\n\
                     Content-Type: application/json\r\n\r\n{}\r\n--x--\r\n";
        let mut form = form("multipart/form-data; boundary=x", parts).await.unwrap();
        assert_eq!(form.take("key").as_deref(), Some("{}"));
        assert_eq!(form.take("key"), None);
    }

    #[tokio::test]
    async fn what_is_too_large_or_no_form_is_refused() {
        let large = vec![b'a'; MOST_BYTES + 1];
        assert!(form("application/x-www-form-urlencoded", large).await.is_none());
        assert!(form("application/json", "{}").await.is_none());
        assert!(
            form("multipart/form-data; boundary=x", "--x\r\nbroken")
                .await
                .is_none()
        );
    }

    #[test]
    fn a_page_of_another_origin_is_known_by_what_the_browser_says() {
        let is_own = |headers: &[(&str, &str)]| {
            let mut request = Request::builder().header("host", "127.0.0.1:8420");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            is_of_own_page(
                &request.body(()).unwrap().into_parts().0,
                "https://broker.example",
            )
        };
        assert!(is_own(&[]));
        assert!(is_own(&[
            ("origin", "http://127.0.0.1:8420"),
            ("sec-fetch-site", "same-origin")
        ]));
        assert!(is_own(&[("origin", "https://broker.example")]));
        for wrong in ["https://evil.example", "null", "http://127.0.0.1:8421", ""] {
            assert!(!is_own(&[("origin", wrong)]), "{wrong}");
        }
        for wrong in ["cross-site", "same-site", "none"] {
            assert!(!is_own(&[("sec-fetch-site", wrong)]), "{wrong}");
        }
    }
}
