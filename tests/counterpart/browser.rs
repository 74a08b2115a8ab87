//! A browser with cookies: without them no consent at a real server comes to its end.

use std::collections::BTreeMap;

use http::{Method, header};
use url::{Url, form_urlencoded};

use crate::support::{Answer, request};

/// A person's browser, new for each person.
#[derive(Default)]
pub(crate) struct Browser {
    /// By host and port, so that nobody gets another's.
    cookies: BTreeMap<(String, String), String>,
}

impl Browser {
    /// Opens a consent's address, logs in as `account`, ticks `scopes`, and follows to the page at the end.
    pub(crate) fn consent(&mut self, url: &str, account: &str, scopes: &[&str]) -> Answer {
        let (page, shown) = self.open(Method::GET, Url::parse(url).unwrap(), String::new());
        assert_eq!(shown.status, 200, "{page}: {}", shown.text());
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("decision", "allow")
            .append_pair("account", account);
        for scope in scopes {
            form.append_pair("scope", scope);
        }
        self.open(Method::POST, page, form.finish()).1
    }

    /// Opens a consent's address and presses Cancel.
    pub(crate) fn decline(&mut self, url: &str) -> Answer {
        let (page, _) = self.open(Method::GET, Url::parse(url).unwrap(), String::new());
        self.open(Method::POST, page, "decision=deny".to_owned()).1
    }

    /// One request, and where it leads.
    fn open(&mut self, method: Method, mut url: Url, form: String) -> (Url, Answer) {
        let mut answer = self.send(method, &url, form);
        for _ in 0..10 {
            if !answer.status.is_redirection() {
                return (url, answer);
            }
            url = url.join(answer.header("location")).unwrap();
            answer = self.send(Method::GET, &url, String::new());
        }
        panic!("too many redirects, the last to {url}");
    }

    fn send(&mut self, method: Method, url: &Url, form: String) -> Answer {
        let site = url.authority().to_owned();
        let sent: Vec<String> = self
            .cookies
            .iter()
            .filter(|((of, _), _)| *of == site)
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        let sent = sent.join("; ");
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("cookie", sent.as_str()),
        ];
        let headers = if form.is_empty() { &headers[1..] } else { &headers };
        let answer = request(method, url.as_str(), headers, form).unwrap();
        for line in answer.headers.get_all(header::SET_COOKIE) {
            let pair = line.to_str().unwrap().split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies
                .insert((site.clone(), name.to_owned()), value.to_owned());
        }
        answer
    }
}
